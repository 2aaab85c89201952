"""A rule for captions taken apart, so that a person can be told by which part a sentence lost.

A rule is a condition; at its top it is alternatives (`OR`) of conditions that must all hold (`AND`). DuckDB's own
parser takes it apart, so whatever DuckDB understands is understood here; what lies deeper stays one part.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from captioning.candidates import RULES

_ASKED = "SELECT 1 FROM candidates WHERE "
_LITERAL = r"('(?:[^']|'')*')"
_NAME = re.compile(r'"(\w+)"')


@dataclass(frozen=True, slots=True)
class Part:
    """One condition of a rule.

    Args:
        sql: The condition, as DuckDB writes it.
        columns: The columns that it reads, in order, each once.
    """

    sql: str
    columns: tuple[str, ...]

    @property
    def text(self) -> str:
        """The condition for people: without outer brackets and quoted names, and with LIKE spelled out."""
        inner = self.sql[1:-1] if self.sql.startswith("(") and self.sql.endswith(")") else self.sql
        pieces = re.split(_LITERAL, inner)
        pieces[::2] = [
            _NAME.sub(r"\1", piece).replace("!~~", "NOT LIKE").replace("~~", "LIKE") for piece in pieces[::2]
        ]
        return "".join(pieces)


def rule_parts(rule: str) -> list[list[Part]]:
    """The alternatives of a rule, each a list of conditions that must all hold.

    Args:
        rule: Name of a rule, or a condition, as `captioning.candidates.choose` takes it.

    Raises:
        ValueError: It is no condition.
    """
    with duckdb.connect(":memory:") as connection:
        (text,) = _row(connection, "SELECT json_serialize_sql(?)", _ASKED + RULES.get(rule, rule))
        tree = json.loads(text)
        if tree["error"]:
            raise ValueError(f"{rule!r} is no condition: {tree['error_message']}")
        node = tree["statements"][0]["node"]

        def part(condition: Mapping[str, Any]) -> Part:
            node["where_clause"] = condition
            (sql,) = _row(connection, "SELECT json_deserialize_sql(?::JSON)", json.dumps(tree))
            return Part(str(sql).removeprefix(_ASKED), tuple(dict.fromkeys(_columns(condition))))

        alternatives = list(_children(node["where_clause"], "CONJUNCTION_OR"))
        return [[part(one) for one in _children(each, "CONJUNCTION_AND")] for each in alternatives]


def _row(connection: duckdb.DuckDBPyConnection, query: str, text: str) -> tuple[Any, ...]:
    return connection.execute(query, [text]).fetchone() or ("",)


def _children(condition: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    """The conditions that a conjunction joins, however it is nested; of another condition, itself."""
    if condition.get("type") == kind:
        for child in condition["children"]:
            yield from _children(child, kind)
    else:
        yield condition


def _columns(condition: Any) -> Iterator[str]:
    if isinstance(condition, Mapping):
        if condition.get("class") == "COLUMN_REF":
            yield str(condition["column_names"][-1])
        for value in condition.values():
            yield from _columns(value)
    elif isinstance(condition, Sequence) and not isinstance(condition, str):
        for value in condition:
            yield from _columns(value)


def broken_parts(alternatives: Sequence[Sequence[Part]], holds: Iterable[bool]) -> list[Part]:
    """The parts by which a sentence fails a rule: those of the alternative that it comes nearest to.

    An alternative that it fails by where it comes from is for other sentences, and told only if there is no other.

    Args:
        alternatives: As `rule_parts` gives them.
        holds: Of every part, in order, whether it holds; a null counts as false.

    Returns:
        Nothing for a sentence that fulfils the rule.
    """
    answers = iter(holds)
    broken = [[part for part in each if not next(answers)] for each in alternatives]
    if not all(broken):
        return []
    meant = [each for each in broken if not any(part.columns == ("source",) for part in each)]
    return min(meant or broken, key=len)
