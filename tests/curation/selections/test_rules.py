"""Each rule, with one clip just inside and one just outside of each bound, and with each value missing."""

import re
from typing import Any

import duckdb
import pytest

from curation.measure import Measure
from curation.selections.rules import RULES, Rule
from curation.tag import Tag

GOOD: dict[str, Any] = {
    "duration_s": 20.0,
    "still_ratio": 0.0,
    "silence_ratio": 0.0,
    "black_ratio": 0.0,
    "clipping_ratio": 0.0,
    "dc_offset": 0.0,
    "bandwidth_hz": 16_000.0,
    "true_peak_dbtp": -6.0,
    "speech_ratio": 0.0,
    "ssim": 0.5,
    "music_ratio": 1.0,
    "speech_ratio_tag": 0.0,
    "singing_ratio": 0.0,
    "length_ms": 200_000,
    "categories": ["Music"],
    "tags": ["piano"],
    "title": "A sonata",
}
"""A clip that every rule lets pass."""

OF_STAGES = {
    "tag": ("music_ratio", "speech_ratio_tag", "singing_ratio"),
    "segment": ("length_ms",),
    '"fetch"': ("categories", "tags", "title"),
}

BOUNDS = [
    ("vggsound-faults", {"duration_s": 9.0}, {"duration_s": 8.999}),
    ("vggsound-faults", {"still_ratio": 0.899}, {"still_ratio": 0.9}),
    ("vggsound-faults", {"silence_ratio": 0.949}, {"silence_ratio": 0.95}),
    ("v2m", {"length_ms": 30_000}, {"length_ms": 29_999}),
    ("v2m", {"length_ms": 480_000}, {"length_ms": 480_001}),
    ("v2m", {"music_ratio": 0.5}, {"music_ratio": 0.499}),
    ("v2m", {"speech_ratio_tag": 0.499}, {"speech_ratio_tag": 0.5}),
    ("v2m", {"ssim": 0.8}, {"ssim": 0.801}),
    ("v2m", {"categories": []}, {"categories": ["Music", "News & Politics"]}),
    ("v2m", {"title": "Newsboy blues"}, {"title": "Evening NEWS"}),
    ("v2m", {"tags": ["interviewing crows"]}, {"tags": ["song", "Interview"]}),
    ("clotho-length", {"duration_s": 15.0}, {"duration_s": 14.999}),
    ("clotho-length", {"duration_s": 30.0}, {"duration_s": 30.001}),
    ("true-peak", {"true_peak_dbtp": -1.0}, {"true_peak_dbtp": -0.999}),
    ("clean-sound", {"silence_ratio": 0.499}, {"silence_ratio": 0.5}),
    ("clean-sound", {"clipping_ratio": 0.0099}, {"clipping_ratio": 0.01}),
    ("clean-sound", {"dc_offset": -0.0099}, {"dc_offset": -0.01}),
    ("clean-sound", {"bandwidth_hz": 7_000.0}, {"bandwidth_hz": 6_999.0}),
    ("moving-picture", {"still_ratio": 0.499}, {"still_ratio": 0.5}),
    ("moving-picture", {"black_ratio": 0.499}, {"black_ratio": 0.5}),
    ("no-speech", {"speech_ratio": 0.049}, {"speech_ratio": 0.05}),
    ("no-singing", {"singing_ratio": 0.499}, {"singing_ratio": 0.5}),
]


def passes(rule: str, **changed: Any) -> bool:
    """Whether `select` would let a clip with these values pass."""
    values = {**GOOD, **changed}
    tables = {name: {column: values.pop(column) for column in columns} for name, columns in OF_STAGES.items()}
    with duckdb.connect(":memory:") as connection:
        connection.execute("CREATE TABLE clips AS SELECT 'v' AS video_key")
        for name, columns in {**tables, "measure": values}.items():
            named = ", ".join(f"?{_cast(column)} AS {column}" for column in columns)
            connection.execute(f"CREATE TABLE {name} AS SELECT 'v' AS key, {named}", list(columns.values()))
        query = f'SELECT coalesce({RULES[rule].where}, false) FROM clips, measure, tag, "fetch"'
        return bool(connection.execute(query).fetchall()[0][0])


def _cast(column: str) -> str:
    kinds = {list: "::VARCHAR[]", str: "::VARCHAR", int: "::BIGINT", float: "::DOUBLE"}
    return kinds[type(GOOD[column])]


@pytest.mark.parametrize("rule", RULES)
def test_a_good_clip_passes_and_each_value_that_a_rule_reads_must_be_there(rule):
    assert passes(rule)
    read = [column for column in GOOD if re.search(rf"\.{column}\b", RULES[rule].where)]
    assert read
    for column in read:
        assert not passes(rule, **{column: None}), column


@pytest.mark.parametrize(("rule", "inside", "outside"), BOUNDS)
def test_just_inside_and_just_outside(rule, inside, outside):
    assert passes(rule, **inside)
    assert not passes(rule, **outside)


def test_every_rule_has_a_bound_above():
    assert {rule for rule, _, _ in BOUNDS} == set(RULES)


def test_the_columns_are_those_of_the_stages():
    known = {*Measure.RESULTS.names, *Tag.RESULTS.names, "length_ms", "categories", "tags", "title"}
    assert set(GOOD) <= known


@pytest.mark.parametrize("change", [{"name": "Of mine"}, {"where": ""}, {"needs": ()}, {"source": ""}])
def test_a_rule_without_name_condition_stages_or_source_is_refused(change):
    fields = {"name": "mine", "where": "true", "needs": ("measure",), "source": "ours"}
    with pytest.raises(ValueError, match="rule"):
        Rule(**{**fields, **change})
