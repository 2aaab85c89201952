"""Filters that come from strangers: a small part of SQL, read here and written anew, so that nothing else gets through.

    measure.loudness_lufs > -30 AND NOT (clips.split = 'test' OR clips.captions IS NULL)
    list_contains(clips.labels, 'Dog') AND videos.platform IN ('youtube', 'url') AND "fetch".title ILIKE '%rain%'

There are columns, numbers, texts, TRUE and FALSE; `= <> != < <= > >=`, `IN`, `BETWEEN`, `LIKE`, `ILIKE`, `IS NULL`,
AND, OR, NOT, brackets and `list_contains`. There are no subqueries, other functions, tables or second statements. What
may be named is decided in `columns.py`; the same words mean the same in `select --where`.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from curation.errors import ArgumentError
from curation.views import quoted
from retrieval_index.service.columns import Columns, Kind

MOST_CONDITIONS = 40
DEEPEST = 20
"""Conditions of one filter, and brackets inside of each other. Source: ours; Python's own stack is far away."""

COMPARISONS = ("=", "<>", "!=", "<=", ">=", "<", ">")

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    |(?P<text>'(?:[^']|'')*')
    |(?P<name>(?:"[^"]+"|[A-Za-z_]\w*)(?:\s*\.\s*(?:"[^"]+"|[A-Za-z_]\w*))?)
    |(?P<sign><>|!=|<=|>=|[=<>(),])
    )""",
    re.VERBOSE,
)


class _Token(NamedTuple):
    kind: str
    text: str

    def says(self, *words: str) -> bool:
        """Whether it is one of these words or signs."""
        return self.kind in ("name", "sign") and self.text.upper() in words


class _Value(NamedTuple):
    """A column or a literal, as SQL."""

    kind: Kind
    sql: str
    said: str
    is_column: bool


_END = _Token("end", "the end")


def filter_sql(text: str, columns: Columns) -> str:
    """A filter as SQL that may be trusted.

    Args:
        text: What was asked for.
        columns: What it may name.

    Returns:
        A condition over the tables of `select --where`, made of nothing but what this file writes.

    Raises:
        ArgumentError: It is none, names what there is not, or compares what cannot be compared.
    """
    parser = _Parser(_tokens(text), columns)
    condition = parser.either()
    parser.expect_end()
    return condition


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise ArgumentError(f"the filter has {text[at:].strip()[:20]!r}, which cannot be read")
        found.append(_Token(match.lastgroup, match[match.lastgroup]))
        at = match.end()
    if not found:
        raise ArgumentError("the filter is empty")
    return found


class _Parser:
    """Reads by descending: OR over AND over NOT over one condition."""

    def __init__(self, tokens: list[_Token], columns: Columns) -> None:
        self._tokens, self._columns = tokens, columns
        self._at = self._conditions = self._depth = 0

    def either(self) -> str:
        """Conditions with OR between them."""
        return self._chain("OR", lambda: self._chain("AND", self._negated))

    def expect_end(self) -> None:
        """Nothing may follow."""
        if self._next is not _END:
            raise ArgumentError(f"the filter goes on with {self._next.text[:20]!r}, where AND, OR or its end belongs")

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _take(self) -> _Token:
        token = self._next
        self._at += 1
        return token

    def _took(self, *words: str) -> bool:
        is_there = self._next.says(*words)
        self._at += is_there
        return is_there

    def _expect(self, word: str) -> None:
        if not self._took(word):
            raise ArgumentError(f"the filter has {self._next.text[:20]!r} where {word!r} was expected")

    def _chain(self, word: str, part: Callable[[], str]) -> str:
        parts = [part()]
        while self._took(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else "(" + f" {word} ".join(parts) + ")"

    def _negated(self) -> str:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ArgumentError(f"the filter has more than {DEEPEST} brackets or NOT inside of each other")
        condition = f"(NOT {self._negated()})" if self._took("NOT") else self._bracketed()
        self._depth -= 1
        return condition

    def _bracketed(self) -> str:
        if self._took("("):
            inside = self.either()
            self._expect(")")
            return inside
        self._conditions += 1
        if self._conditions > MOST_CONDITIONS:
            raise ArgumentError(f"the filter has more than {MOST_CONDITIONS} conditions")
        return self._contains() if self._took("LIST_CONTAINS") else self._condition()

    def _contains(self) -> str:
        self._expect("(")
        column = self._value()
        self._expect(",")
        item = self._value()
        self._expect(")")
        if column.kind != "list" or item.kind != "text" or item.is_column:
            raise ArgumentError("list_contains takes a column with a list and a text, as clips.labels and 'Dog'")
        return f"list_contains({column.sql}, {item.sql})"

    def _condition(self) -> str:
        left = self._value()
        if self._took("IS"):
            word = "IS NOT NULL" if self._took("NOT") else "IS NULL"
            self._expect("NULL")
            return f"({left.sql} {word})"
        is_not = "NOT " if self._took("NOT") else ""
        for word in ("LIKE", "ILIKE"):
            if self._took(word):
                _same(left, pattern := self._value(), "text")
                return f"({left.sql} {is_not}{word} {pattern.sql})"
        if self._took("BETWEEN"):
            low = self._ordered(left)
            self._expect("AND")
            return f"({left.sql} {is_not}BETWEEN {low.sql} AND {self._ordered(left).sql})"
        if self._took("IN"):
            return f"({left.sql} {is_not}IN ({', '.join(self._listed(left))}))"
        if is_not:
            raise ArgumentError(f"the filter has NOT before {self._next.text[:20]!r}; it goes before LIKE, BETWEEN, IN")
        if self._next.kind == "sign" and self._next.text in COMPARISONS:
            sign = self._take().text
            right = self._value()
            _same(left, right)
            if left.kind == "list":
                raise ArgumentError(f"{left.said} is a list; ask with list_contains({left.said}, 'Dog')")
            return f"({left.sql} {sign} {right.sql})"
        if left.kind != "bool":
            raise ArgumentError(f"{left.said} is no condition by itself; compare it, as {left.said} = ...")
        return left.sql

    def _ordered(self, left: _Value) -> _Value:
        value = self._value()
        _same(left, value)
        if value.kind not in ("number", "text"):
            raise ArgumentError(f"{left.said} has no order; BETWEEN takes numbers and texts")
        return value

    def _listed(self, left: _Value) -> list[str]:
        self._expect("(")
        values = []
        while True:
            value = self._value()
            _same(left, value)
            values.append(value.sql)
            if not self._took(","):
                break
        self._expect(")")
        return values

    def _value(self) -> _Value:
        token = self._take()
        if token.kind == "number":
            return _Value("number", token.text, token.text, is_column=False)
        if token.kind == "text":
            text = token.text[1:-1].replace("''", "'")
            return _Value("text", quoted(text), token.text[:40], is_column=False)
        if token.says("TRUE", "FALSE"):
            return _Value("bool", token.text.lower(), token.text, is_column=False)
        if token.kind == "name":
            column = self._columns.named(token.text)
            return _Value(column.kind, column.sql, column.said, is_column=True)
        raise ArgumentError(f"the filter has {token.text[:20]!r} where a column, a number or a 'text' was expected")


def _same(left: _Value, right: _Value, kind: Kind | None = None) -> None:
    """Refuse to compare what is of two kinds."""
    if left.kind != right.kind or (kind is not None and left.kind != kind):
        wanted = f"; {kind}s were expected" if kind and left.kind == right.kind else ""
        raise ArgumentError(f"{left.said} is a {left.kind} and {right.said} a {right.kind}{wanted}")
