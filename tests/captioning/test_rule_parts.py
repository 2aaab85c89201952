"""A rule is taken apart as DuckDB reads it, and a sentence is told the parts that it fails."""

import duckdb
import pytest

from captioning.candidates import RULES
from captioning.rule_parts import Part, broken_parts, rule_parts


def test_a_rule_is_alternatives_of_conditions() -> None:
    (parts,) = rule_parts("hedges = 0 AND (words > 2 AND clap > 0.3)")
    assert [part.text for part in parts] == ["hedges = 0", "words > 2", "clap > 0.3"]
    human, other = rule_parts("source LIKE 'human:%' OR clap > words + clap")
    assert [(part.text, part.columns) for part in (*human, *other)] == [
        ("source LIKE 'human:%'", ("source",)),
        ("clap > (words + clap)", ("clap", "words")),
    ]
    assert [len(each) for each in rule_parts("a AND (b OR c)")] == [2], "what lies deeper stays one part"


def test_what_stands_in_quotes_is_left_alone() -> None:
    ((part,),) = rule_parts("""text NOT LIKE '%"a" ~~ it''s%'""")
    assert part.text == """text NOT LIKE '%"a" ~~ it''s%'"""


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_named_rule_means_the_same_in_parts(name: str) -> None:
    parts = rule_parts(name)
    assert parts == rule_parts(RULES[name])
    again = " OR ".join(" AND ".join(f"({part.sql})" for part in each) for each in parts)
    columns = sorted({column for each in parts for part in each for column in part.columns})
    values = {"source": "'model:m'", "text": "'a'", "language": "'en'", "mentions": "['dog']"}
    for number in ("0", "1", "5", "100"):
        row = ", ".join(f"{values.get(column, number)} AS {column}" for column in columns)
        found = duckdb.sql(f"SELECT ({RULES[name]}), ({again}) FROM (SELECT {row})").fetchall()
        assert found[0][0] == found[0][1]


def test_what_is_no_condition_is_refused() -> None:
    with pytest.raises(ValueError, match="is no condition"):
        rule_parts("hedges = = 0")


def test_a_sentence_is_told_what_it_fails() -> None:
    human, hedges, words = Part("h", ("source",)), Part("hedges = 0", ("hedges",)), Part("words > 2", ("words",))
    alternatives = [[human], [hedges, words]]
    assert broken_parts(alternatives, [False, True, True]) == []
    assert broken_parts(alternatives, [True, False, False]) == []
    assert broken_parts(alternatives, [False, False, True]) == [hedges]
    assert broken_parts(alternatives, [False, False, False]) == [hedges, words], "not that no person said it"
    assert broken_parts([[human]], [False]) == [human]
    assert broken_parts([[hedges, words], [words]], [False, False, False]) == [words]
