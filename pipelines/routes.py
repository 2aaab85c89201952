"""The feed of `fetch`: which video is asked next, through which egress, and whose fault an answer was.

Requests wait in a line for each source. A line and an egress meet at a gate (`curation/download/egress.py`); what has
no gate is on this machine and waits for nobody. An answer that belongs to the egress, a refusal or a lost connection,
is not counted against the video, which goes to the end of its line.
"""

import socket
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from curation.dataset import Dataset
from curation.download.egress import IN_A_ROW, REFUSALS, UNREACHED, Gate, Pace
from curation.download.pace import load_gates, merge_gates, save_gates
from curation.errors import Code, PausedError
from curation.stage import Outcome
from curation.tables import Row
from pipelines.disk import DiskMark
from pipelines.feed import AT_ONCE, Batch, HasRoom, Later, Settled

SAVE_EVERY_S, SAVE_PAUSE_EVERY_S = 60.0, 5.0
"""How often the tokens are kept on the disk, and how often a new pause is. Source: ours; a kill forgets no more."""

PROBE_S = 5.0
"""How long a host may take to accept a connection, s. Source: ours."""

WAITING_ROWS = 20_000
"""Most rows that were put back and wait in memory; more are forgotten, and found in the dataset again. Source: ours."""

Address = tuple[str, int]
"""Host and port."""


def reaches(address: Address) -> bool:
    """Whether a host accepts a connection."""
    try:
        socket.create_connection(address, timeout=PROBE_S).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Routing:
    """How requests leave this machine.

    Args:
        names: The egresses of this machine.
        paces: Line -> how fast it may be asked, the preferred one first.
        hosts: Line -> what is connected to, to see whether the connection is alive; lines to many hosts have none.
        proxies: Egress -> its proxy, which is what is connected to then.
        is_placed: Whether the names are the user's own choice; otherwise the nodes of a cluster that carry the resource
            `egress` take their place.
        disk: When fetching pauses for want of space; None for never.
    """

    names: tuple[str, ...]
    paces: Mapping[str, Pace]
    hosts: Mapping[str, Address] = field(default_factory=dict)
    proxies: Mapping[str, Address] = field(default_factory=dict)
    is_placed: bool = False
    disk: DiskMark | None = None


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


class Routes:
    """Requests in lines, egresses with gates.

    Args:
        dataset: Where the gates are kept.
        routing: What the user allows.
        names: The egresses.
        clock: Seconds since 1970.
        probe: Whether a host accepts a connection.
        is_there: Whether an egress has a worker now; a node may have gone.
    """

    def __init__(
        self,
        dataset: Dataset,
        routing: Routing,
        names: Sequence[str],
        *,
        clock: Callable[[], float] = time.time,
        probe: Callable[[Address], bool] = reaches,
        is_there: Callable[[str], bool] = lambda egress: True,
    ) -> None:
        self._dataset, self._routing, self._names = dataset, routing, tuple(names)
        self._clock, self._probe, self._is_there = clock, probe, is_there
        self._lines: dict[str | None, _Line] = defaultdict(_Line)
        self._later = Later()
        self._asked_at: dict[str, float] = {}
        self._under_way: Counter[tuple[str, str]] = Counter()
        self._held: dict[tuple[str, str], list[Settled]] = defaultdict(list)
        self._has_forgotten = False
        merge_gates(dataset)
        self._gates = load_gates(dataset, routing.paces, names, clock())
        self._saved, self._saved_at = dict(self._gates), clock()
        self._written: set[tuple[str, str]] = set()
        by_pace = sorted(routing.paces.items(), key=lambda item: item[1].videos_per_hour is None)
        self._order: list[str | None] = [*(line for line, _ in by_pace), None]  # what is scarce is asked when it may be

    def add(self, rows: pa.Table) -> None:
        """Put the rows of a table into their lines."""
        self._has_forgotten = False
        lines = rows["line"].cast(pa.string())
        found = lines.unique().to_pylist()
        unknown = set(found) - set(self._order)
        if unknown:
            raise ValueError(f"rows wait in the lines {sorted(unknown)}, which have no pace; there are {self._order}")
        for line in found:
            ours = pc.is_null(lines) if line is None else pc.fill_null(pc.equal(lines, line), False)
            self._lines[line].add(rows if len(found) == 1 else rows.filter(ours))

    def put_back(self, row: Row, pause_s: float) -> None:
        """To the end of its line, after a pause."""
        if len(self._later) < WAITING_ROWS:
            self._later.add(row, pause_s)
        else:
            self._has_forgotten = True

    def next(self, has_room: HasRoom) -> Batch | None:
        """The next request that may be asked now."""
        while (row := self._later.due()) is not None:
            self._to_the_end(row)
        if self._routing.disk is not None and self._routing.disk.complaint():
            return None
        now = self._clock()
        for source in self._order:
            for egress in self._names if len(self._lines[source]) else ():
                if has_room(egress) and self._is_open(egress, source, now):
                    return self._hand_out(egress, source, now)
        return None

    def _to_the_end(self, row: Row) -> None:
        line = self._lines[row["line"]]
        if len(line.back) < WAITING_ROWS:
            line.back.append(row)
        else:
            self._has_forgotten = True

    def _is_open(self, egress: str, source: str | None, now: float) -> bool:
        if source is None:
            return True
        gate = self._gates[egress, source]
        if gate.is_given_up or gate.opens_at(now) > now:
            return False
        if not gate.is_on_trial:
            return True
        if self._under_way[egress, source]:
            return False
        if gate.code in UNREACHED and not self._reaches(egress, source):
            self._gates[egress, source] = gate.refuse(Code.NETWORK, now, asked_at=now)
            return False
        return True

    def _reaches(self, egress: str, source: str) -> bool:
        """Whether the host of a source answers; where nobody can tell from here, the next video will."""
        address = self._routing.proxies.get(egress) or self._routing.hosts.get(source)
        return address is None or egress not in self._routing.names or self._probe(address)

    def _answers(self, egress: str, source: str) -> bool:
        """Whether the host of a source is known and accepts a connection."""
        address = self._routing.proxies.get(egress) or self._routing.hosts.get(source)
        return address is not None and egress in self._routing.names and self._probe(address)

    def _hand_out(self, egress: str, source: str | None, now: float) -> Batch:
        row = self._lines[source].pop()
        self._asked_at[row["key"]] = now
        if source is None:
            return Batch([{**row, "egress": None}], egress)
        self._gates[egress, source] = self._gates[egress, source].take(now)
        self._under_way[egress, source] += 1
        return Batch([{**row, "egress": egress}], egress)

    def settle(self, row: Row, outcome: Outcome, seconds: float) -> list[Settled]:
        """Judge an answer: the video's, the egress's, or not to be told apart yet."""
        settled, where, now = Settled(row, outcome, seconds), (row["egress"], row["line"]), self._clock()
        asked_at = self._asked_at.pop(row["key"])
        if row["egress"] is None:
            return [settled]
        self._under_way[where] -= 1
        error, gate = outcome.error or outcome.answer, self._gates[where]
        if error is not None and error.code in UNREACHED:
            held = self._held[where]
            held.append(settled)
            if len(held) >= IN_A_ROW or (gate.is_on_trial and gate.code in UNREACHED):
                if all(int(one.row.get("attempts", 0)) > 0 for one in held) and self._answers(*where):
                    return self._held.pop(where)  # videos that failed before, between answers, and the host is there
                self._lose(where, now, asked_at)
            return []
        answered = self._held.pop(where, [])  # the source answers: what failed before failed by itself
        if error is not None and error.code in REFUSALS:
            wait_s = error.retry_after_s
            self._gates[where] = gate.refuse(error.code, now, asked_at=asked_at, retry_after_s=wait_s)
            self._to_the_end(row)
            return [*answered, Settled(row, outcome, seconds, is_attempt=False)]
        self._gates[where] = gate.answer(asked_at=asked_at)
        return [*answered, settled]

    def _lose(self, where: tuple[str, str], now: float, asked_at: float) -> None:
        """The connection is gone: pause, and ask the same videos later as if they had not been asked."""
        for settled in self._held.pop(where, []):
            self._to_the_end(settled.row)
        self._gates[where] = self._gates[where].refuse(Code.NETWORK, now, asked_at=asked_at)

    def review(self) -> list[Settled]:
        """At the end of a line see whether the connection or the videos failed last; stop when no gate will open."""
        settled: list[Settled] = []
        for where, held in list(self._held.items()):
            if held and not self._under_way[where] and not len(self._lines[where[1]]):
                if self._reaches(*where):
                    settled += self._held.pop(where)
                else:
                    self._lose(where, self._clock(), self._clock())
        waiting = {source: len(line) for source, line in self._lines.items() if len(line)}
        if waiting and not settled and not self._asked_at and not self._later and None not in waiting:
            left = [
                (where, gate) for where, gate in self._gates.items() if where[1] in waiting and self._is_there(where[0])
            ]
            if all(gate.is_given_up for _, gate in left):
                until = min((gate.paused_until for _, gate in left), default=self._clock())
                raise PausedError(self._farewell(left, sum(waiting.values()), until), until)
        return settled

    def _farewell(self, given_up: Sequence[tuple[tuple[str, str], Gate]], pending: int, until: float) -> str:
        said = "; ".join(
            f"{source} through {egress}: {'no connection' if gate.code in UNREACHED else gate.code} "
            f"{gate.streak} times in a row"
            for (egress, source), gate in given_up
        )
        return (
            f"{said or 'no way out is left'}. {pending} videos stay pending, none was set aside for it; run the same "
            f"command again after {_clock_text(until)}"
        )

    def is_empty(self) -> bool:
        """Whether nothing waits, in a line, for its pause, or for a verdict."""
        return not self._later and not any(map(len, self._lines.values())) and not any(self._held.values())

    def has_forgotten(self) -> bool:
        """Whether rows were left out for want of room."""
        return self._has_forgotten

    def save(self, *, at_end: bool) -> None:
        """Keep the gates that have changed: a pause soon, tokens now and then, all at the end."""
        changed = {where: gate for where, gate in self._gates.items() if gate != self._saved.get(where)}
        pauses = any(gate.paused_until != self._saved[where].paused_until for where, gate in changed.items())
        is_first = any(where not in self._written for where in changed)
        every_s = SAVE_PAUSE_EVERY_S if pauses else SAVE_EVERY_S
        if changed and (at_end or is_first or self._clock() - self._saved_at >= every_s):
            # While the run goes on, no tokens are left to a next one: a kill may have used them.
            kept = changed if at_end else {where: replace(gate, tokens=0.0) for where, gate in changed.items()}
            save_gates(self._dataset, kept)
            self._written |= set(changed)
            self._saved, self._saved_at = dict(self._gates), self._clock()

    def note(self) -> str:
        """Which egresses pause until when, and whether the disk is full."""
        now, notes = self._clock(), []
        if self._routing.disk is not None and (full := self._routing.disk.complaint()):
            notes.append(f"pausing: {full}")
        for (egress, source), gate in self._gates.items():
            if gate.paused_until > now and len(self._lines[source]):
                why = "no connection" if gate.code in UNREACHED else gate.code
                notes.append(f"{source} through {egress} pauses until {_clock_text(gate.paused_until)}: {why}")
        return "; ".join(notes)


def _clock_text(moment: float) -> str:
    """A time of day with its date, in this machine's zone."""
    return datetime.fromtimestamp(moment).astimezone().isoformat(sep=" ", timespec="seconds")
