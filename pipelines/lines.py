"""Requests that wait in lines: one for each source, and one for each host that rows lead to, which take turns."""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from curation.download.egress import ROW_LINE, kind_of_line
from curation.tables import Row
from pipelines.feed import AT_ONCE

WAITING_ROWS = 20_000
"""Most rows that were put back and wait in memory; more are forgotten, and found in the dataset again. Source: ours."""


class _Line:
    """The requests that wait for one source: those of the tables, then those that were put back."""

    def __init__(self) -> None:
        self._tables: deque[pa.Table] = deque()
        self._ready: deque[Row] = deque()
        self.back: deque[Row] = deque()

    def __len__(self) -> int:
        return len(self._ready) + len(self.back) + sum(int(rows.num_rows) for rows in self._tables)

    def add(self, rows: pa.Table) -> None:
        """More requests, behind those of earlier tables."""
        self._tables.append(rows)

    def pop(self) -> Row:
        """The next one."""
        if self._tables and not self._ready:
            rows = self._tables.popleft()
            self._ready.extend(rows.slice(0, AT_ONCE).to_pylist())
            if rows.num_rows > AT_ONCE:
                self._tables.appendleft(rows.slice(AT_ONCE))
        return self._ready.popleft() if self._ready else self.back.popleft()


class Lines:
    """All lines in which something waits.

    Args:
        order: The lines that are asked first to last; at the place of `ROW_LINE` the hosts of rows take turns.
    """

    def __init__(self, order: Sequence[str | None]) -> None:
        self._order = tuple(order)
        self._lines: dict[str | None, _Line] = {}
        self._turns: OrderedDict[str | None, None] = OrderedDict()
        self._were_put_back = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def add(self, rows: pa.Table) -> None:
        """Put the rows of a table into their lines; they keep their order.

        Raises:
            ValueError: A line is none of those that are asked.
        """
        encoded = rows["line"].cast(pa.string()).combine_chunks().dictionary_encode()
        names: list[str | None] = [*encoded.dictionary.to_pylist(), None]
        codes = np.asarray(encoded.indices.fill_null(len(names) - 1))
        found, counts = np.unique(codes, return_counts=True)
        unknown = {line for n in found if (line := names[n]) and kind_of_line(line) not in self._order}
        if unknown:
            raise ValueError(f"rows wait in the lines {sorted(unknown)}, which have no pace; there are {self._order}")
        if len(found) > 1:
            rows = rows.take(np.argsort(codes, kind="stable"))
        for n, end, count in zip(found, np.cumsum(counts), counts, strict=True):
            self._line(names[n]).add(rows.slice(end - count, count))

    def put_back(self, row: Row) -> bool:
        """Put a row at the end of its line; False where there is no room for it."""
        if self._were_put_back >= WAITING_ROWS:
            return False
        self._line(row["line"]).back.append(row)
        self._were_put_back += 1
        return True

    def _line(self, name: str | None) -> _Line:
        if name is not None and kind_of_line(name) == ROW_LINE:
            self._turns.setdefault(name)
        return self._lines.setdefault(name, _Line())

    def waiting(self) -> Iterator[str | None]:
        """The lines in which something waits, the one that is to be asked first before others."""
        for name in self._order:
            if name == ROW_LINE:
                yield from self._turns
            elif name in self._lines:
                yield name

    def waits(self, name: str | None) -> bool:
        """Whether something waits in a line; in any to a host for `ROW_LINE`."""
        return bool(self._turns) if name == ROW_LINE else name in self._lines

    def pop(self, name: str | None) -> Row:
        """The next row of a line, whose host then has its turn behind the others."""
        line = self._lines[name]
        before = len(line.back)
        row = line.pop()
        self._were_put_back -= before - len(line.back)
        if not line:
            del self._lines[name]
            self._turns.pop(name, None)
        elif name in self._turns:
            self._turns.move_to_end(name)
        return row
