"""Filters: what they mean is what SQL means, and nothing that reads, writes, configures or takes long gets through."""

import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.selections.where import clips_where
from retrieval_index.service.columns import Columns
from retrieval_index.service.filter import DEEPEST, MOST_CONDITIONS, filter_sql
from tests.retrieval_index.service.served import make_dataset
from tests.retrieval_index.tones import clip_of

COLUMNS = Columns(
    {
        "clips": {"split": "text", "labels": "list", "duration_ms": "number"},
        "measure": {"loudness_lufs": "number", "channels_identical": "bool", "code": "text"},
        "caption:b": {"text": "text", "code": "text"},
    }
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("filtered") / "dataset")


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("measure.loudness_lufs > -30", '("measure"."loudness_lufs" > -30)'),
        ("loudness_lufs>=1.5e2", '("measure"."loudness_lufs" >= 1.5e2)'),
        ("clips.split = 'it''s'", "(\"clips\".\"split\" = 'it''s')"),
        ("NOT split IN ('a', 'b')", "(NOT (\"clips\".\"split\" IN ('a', 'b')))"),
        ("split NOT IN ('a')", '("clips"."split" NOT IN (\'a\'))'),
        (
            "split = 'a' or split = 'b' and duration_ms < 3",
            '(("clips"."split" = \'a\') OR (("clips"."split" = \'b\') AND ("clips"."duration_ms" < 3)))',
        ),
        (
            "(split = 'a' OR split = 'b') AND channels_identical",
            '((("clips"."split" = \'a\') OR ("clips"."split" = \'b\')) AND "measure"."channels_identical")',
        ),
        ("duration_ms BETWEEN 1 AND 2", '("clips"."duration_ms" BETWEEN 1 AND 2)'),
        ("\"caption:b\".text NOT ILIKE '%rain%'", '("caption:b"."text" NOT ILIKE \'%rain%\')'),
        ("labels IS NOT NULL", '("clips"."labels" IS NOT NULL)'),
        ("list_contains(clips.labels, 'Dog')", 'list_contains("clips"."labels", \'Dog\')'),
        ("channels_identical = TRUE", '("measure"."channels_identical" = true)'),
    ],
)
def test_a_filter_is_written_anew(text: str, sql: str) -> None:
    assert filter_sql(text, COLUMNS) == sql


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("split", "no condition by itself"),
        ("split = 1", r"clips.split is a text and 1 a number"),
        ("split = 'a' split", "where AND, OR or its end belongs"),
        ("split = 'a", "cannot be read"),
        ("split = 'a'; DROP TABLE clips", "cannot be read"),
        ("split = 'a' -- comment", "cannot be read"),
        ("code = 'x'", "several tables"),
        ("videos.root = 'x'", "cannot name"),
        ("rowid = 1", "cannot name"),
        ("labels = 'Dog'", "is a list and 'Dog' a text"),
        ("labels = labels", "ask with list_contains"),
        ("duration_ms LIKE '1%'", "is a number"),
        ("1 = 1 AND (split = 'a'", r"where '\)' was expected"),
        ("NOT " * (DEEPEST + 1) + "TRUE", "inside of each other"),
        ("(" * (DEEPEST + 1) + "TRUE" + ")" * (DEEPEST + 1), "inside of each other"),
        (" OR ".join(["TRUE"] * (MOST_CONDITIONS + 1)), "conditions"),
        ("list_contains(split, 'a')", "takes a column with a list"),
        ("channels_identical BETWEEN TRUE AND FALSE", "has no order"),
        ("split NOT = 'a'", "goes before LIKE"),
    ],
)
def test_what_is_no_filter_is_said(text: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        filter_sql(text, COLUMNS)


@pytest.mark.parametrize(
    "text",
    [
        "(SELECT count(*) FROM read_csv('/etc/passwd')) > 0",
        "read_text('/etc/passwd') = 'x'",
        "split IN (SELECT content FROM read_text('/etc/passwd'))",
        "EXISTS (SELECT 1)",
        "'/etc/passwd' IN (FROM '/etc/passwd')",
        "COPY clips TO '/tmp/x'",
        "split = 'a'; COPY clips TO '/tmp/x'",
        "ATTACH '/tmp/x.db'",
        "PRAGMA database_list",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CALL pragma_version()",
        "getenv('HOME') = 'x'",
        "current_setting('temp_directory') = 'x'",
        "glob('/*') = 'x'",
        "repeat('a', 1000000000) = 'x'",
        "regexp_matches(split, '(a+)+$')",
        "split = 'a' UNION SELECT 1",
        "(SELECT 1) = 1",
        "CASE WHEN TRUE THEN TRUE END",
        "duration_ms + 1 > 2",
        "duration_ms::VARCHAR = 'x'",
        "split = $$x$$",
        "split = E'\\x41'",
        'split = "clips"."root"',
        "list_contains(range(1000000000), 1)",
        "split = ?",
        "true) OR (true",
        "getvariable('x') = 1",
    ],
)
def test_sql_that_does_more_than_ask_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError):
        filter_sql(text, COLUMNS)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab'\"();,.-*/ =<>!\\\0\n%ORANDINselct1_", max_size=40))
def test_a_text_stays_a_text(text: str) -> None:
    """Whatever is read is one expression of ours: what another SQL reads of it names nothing but our columns."""
    try:
        sql = filter_sql(text, COLUMNS)
    except ArgumentError:
        return
    assert ";" not in _outside_of_texts(sql) and "--" not in _outside_of_texts(sql)
    ours = {"AND", "OR", "NOT", "IN", "IS", "NULL", "true", "false", "LIKE", "BETWEEN"}
    assert set(_words(_outside_of_texts(sql))) <= ours


@given(st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_a_literal_comes_back_as_it_was(text: str) -> None:
    clean = text.replace("\0", "")
    sql = filter_sql("split = '" + clean.replace("'", "''") + "'", COLUMNS)
    literal = sql.partition(" = ")[2][:-1]
    assert sqlite3.connect(":memory:").execute(f"SELECT {literal}").fetchone() == (clean,)


def _outside_of_texts(sql: str) -> str:
    return "".join(part for number, part in enumerate(sql.split("'")) if number % 2 == 0)


def _words(sql: str) -> list[str]:
    outside = "".join(part for number, part in enumerate(sql.split('"')) if number % 2 == 0)
    return [word for word in outside.replace("(", " ").replace(")", " ").replace(",", " ").split() if word[0].isalpha()]


def test_columns_of_a_dataset_mean_what_select_means(dataset: Dataset) -> None:
    columns = Columns.of(dataset)
    for text in (
        "measure.duration_s > 2.5",
        "videos.video_id IN ('low', 'high') AND NOT clips.split = 'test'",
        "list_contains(clips.captions, 'a tone at 220 Hz') OR measure.duration_s BETWEEN 3.9 AND 4.1",
        "measure.still_ratio IS NULL AND measure.state = 'done'",
    ):
        assert clips_where(dataset, filter_sql(text, columns)) == clips_where(dataset, text)
    assert clips_where(dataset, filter_sql("video_id = 'low'", columns)) == [clip_of("low")]
    named = set(columns.as_dict())
    assert not [name for name in named if name.rpartition(".")[2] in ("root", "path", "url", "detail", "blob", "input")]


def test_a_query_that_takes_long_is_cut_off(dataset: Dataset) -> None:
    """Nothing that a filter can say takes long; what stands behind it would be cut off all the same."""
    slow = "(SELECT count(*) FROM range(100000000) a, range(100000000) b) > 0"
    begun = time.monotonic()
    with pytest.raises(ArgumentError, match=r"takes longer than 0\.5 s"):
        clips_where(dataset, slow, limit_s=0.5)
    assert time.monotonic() - begun < 10
    assert len(clips_where(dataset, "true", limit_s=30)) == 4


@pytest.mark.parametrize(
    "text",
    [
        "(SELECT count(*) FROM read_csv('/etc/passwd')) > 0",
        "(SELECT count(*) FROM glob('/etc/*')) > 0",
        "(SELECT count(*) FROM 'http://127.0.0.1:1/x.csv') > 0",
        "true); COPY (SELECT 1) TO '/tmp/x'; SELECT (true",
        "true); ATTACH '/tmp/x.db'; SELECT (true",
        "true); SET enable_external_access = true; SELECT (true",
    ],
)
def test_the_database_behind_it_refuses_too(dataset: Dataset, text: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError):
        clips_where(dataset, text)
    assert not Path("/tmp/x").exists()
