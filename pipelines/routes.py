"""The feed of `fetch`: which video is asked next, through which egress, and whose fault an answer was.

Requests wait in a line for each source, those of rows with a url in one for each host. A line and an egress meet at a
gate (`curation/download/egress.py`); what has no gate is on this machine and waits for nobody. An answer that belongs
to the egress, a refusal or a lost connection, is not counted against the video, which goes to the end of its line.
"""

import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import pyarrow as pa

from curation.dataset import Dataset
from curation.download.addresses import Origin
from curation.download.egress import IN_A_ROW, REFUSALS, ROW_LINE, UNREACHED, Gate, Pace, kind_of_line
from curation.download.pace import gate_pace, load_gates, merge_gates, save_gates
from curation.errors import Code, PausedError
from curation.stage import Outcome
from curation.tables import Row
from pipelines.disk import DiskMark
from pipelines.feed import Batch, HasRoom, Later, Settled
from pipelines.lines import WAITING_ROWS, Lines

SAVE_EVERY_S, SAVE_PAUSE_EVERY_S = 60.0, 5.0
"""How often the tokens are kept on the disk, and how often a new pause is. Source: ours; a kill forgets no more."""

PROBE_S = 5.0
"""How long a host may take to accept a connection, s. Source: ours."""

NOTED = 3
"""So many pauses are named to a person who waits; the others are counted."""

Address = tuple[str, int]
"""Host and port."""

Where = tuple[str, str]
"""An egress and a line, which meet at a gate."""


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
        by_pace = sorted(routing.paces.items(), key=lambda item: item[1].videos_per_hour is None)
        self._lines = Lines([*(line for line, _ in by_pace), None])  # what is scarce is asked when it may be
        self._later = Later()
        self._asked_at: dict[str, float] = {}
        self._under_way: Counter[Where] = Counter()
        self._held: dict[Where, list[Settled]] = defaultdict(list)
        self._witness: dict[str, tuple[str, Address]] = {}
        self._has_forgotten = False
        merge_gates(dataset)
        self._gates = load_gates(dataset, routing.paces, names, clock())
        self._saved, self._saved_at = dict(self._gates), clock()
        self._changed: set[Where] = set()
        self._written: set[Where] = set()
        self._pausing = {where for where, gate in self._gates.items() if gate.paused_until}

    def add(self, rows: pa.Table) -> None:
        """Put the rows of a table into their lines."""
        self._has_forgotten = False
        self._lines.add(rows)

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
        now, free = self._clock(), [egress for egress in self._names if has_room(egress)]
        for line in self._lines.waiting() if free else ():
            for egress in free:
                if all(self._is_open(where, now) for where in _gates_of(egress, line)):
                    return self._hand_out(egress, line, now)
        return None

    def _to_the_end(self, row: Row) -> None:
        if not self._lines.put_back(row):
            self._has_forgotten = True

    def _gate(self, where: Where) -> Gate:
        gate = self._gates.get(where)
        return Gate.fresh(gate_pace(self._routing.paces, where[1]), self._clock()) if gate is None else gate

    def _set(self, where: Where, gate: Gate) -> None:
        self._gates[where] = gate
        if self._is_to_be_kept(where):
            self._changed.add(where)
        if gate.paused_until:
            self._pausing.add(where)
        else:
            self._pausing.discard(where)

    def _is_open(self, where: Where, now: float) -> bool:
        gate = self._gate(where)
        if gate.is_given_up or gate.opens_at(now) > now:
            return False
        if not gate.is_on_trial:
            return True
        if self._under_way[where]:
            return False
        if gate.code in UNREACHED and not self._reaches(where):
            self._set(where, gate.refuse(Code.NETWORK, now, asked_at=now))
            return False
        return True

    def _address(self, where: Where) -> Address | None:
        """What tells whether the connection is alive: the proxy, the source's host, the host of a row that answered."""
        egress, line = where
        if egress not in self._routing.names:  # of another machine
            return None
        host = self._witness[egress][1] if line == ROW_LINE and egress in self._witness else None
        return self._routing.proxies.get(egress) or self._routing.hosts.get(line) or host

    def _reaches(self, where: Where) -> bool:
        """Whether the host of a source answers; where nobody can tell from here, the next video will."""
        address = self._address(where)
        return address is None or self._probe(address)

    def _is_their_own(self, where: Where, held: Sequence[Settled]) -> bool:
        """Whether videos in a row that could not be reached failed by themselves: the connection is known to be alive,
        and they failed before, between answers, or another host than theirs proves it."""
        address, (egress, line) = self._address(where), where
        before = all(int(one.row.get("attempts", 0)) > 0 for one in held)
        other = line == ROW_LINE and egress in self._witness
        other = other and all(one.row["line"] != self._witness[egress][0] for one in held)
        return address is not None and (before or other) and self._probe(address)

    def _hand_out(self, egress: str, line: str | None, now: float) -> Batch:
        row = self._lines.pop(line)
        self._asked_at[row["key"]] = now
        for where in _gates_of(egress, line):
            self._set(where, self._gate(where).take(now))
            self._under_way[where] += 1
        return Batch([{**row, "egress": egress if line is not None else None}], egress)

    def settle(self, row: Row, outcome: Outcome, seconds: float) -> list[Settled]:
        """Judge an answer: the video's, the egress's, or not to be told apart yet."""
        settled, now = Settled(row, outcome, seconds), self._clock()
        asked_at = self._asked_at.pop(row["key"])
        if row["egress"] is None:
            return [settled]
        gates = _gates_of(row["egress"], row["line"])
        self._under_way.subtract(gates)
        connection, source = gates[0], gates[-1]
        error = outcome.error or outcome.answer
        if error is not None and error.code in UNREACHED:
            held, gate = self._held[connection], self._gate(connection)
            held.append(settled)
            if len(held) >= IN_A_ROW or (gate.is_on_trial and gate.code in UNREACHED):
                if self._is_their_own(connection, held):
                    return self._held.pop(connection)
                self._lose(connection, now, asked_at)
            return []
        answered = self._held.pop(connection, [])  # the source answers: what failed before failed by itself
        if connection != source:
            self._witness[row["egress"]] = row["line"], _address_of(row)
            self._set(connection, self._gate(connection).answer(asked_at=asked_at))
        if error is not None and error.code in REFUSALS:
            wait_s = error.retry_after_s
            refused = self._gate(source).refuse(error.code, now, asked_at=asked_at, retry_after_s=wait_s)
            self._set(source, refused)
            self._to_the_end(row)
            return [*answered, Settled(row, outcome, seconds, is_attempt=False)]
        self._set(source, self._gate(source).answer(asked_at=asked_at))
        return [*answered, settled]

    def _lose(self, where: Where, now: float, asked_at: float) -> None:
        """The connection is gone: pause, and ask the same videos later as if they had not been asked."""
        for settled in self._held.pop(where, []):
            self._to_the_end(settled.row)
        self._set(where, self._gate(where).refuse(Code.NETWORK, now, asked_at=asked_at))

    def review(self) -> list[Settled]:
        """At the end of a line see whether the connection or the videos failed last; stop when no gate will open."""
        settled: list[Settled] = []
        for where, held in list(self._held.items()):
            if held and not self._under_way[where] and not self._is_waited_for(where):
                if self._reaches(where):
                    settled += self._held.pop(where)
                else:
                    self._lose(where, self._clock(), self._clock())
        if self._lines and not settled and not self._asked_at and not self._later:
            self._stop_if_given_up()
        return settled

    def _is_waited_for(self, connection: Where) -> bool:
        """Whether a request waits that will go through a connection and tell of it."""
        egress, kind = connection
        if kind != ROW_LINE:
            return self._lines.waits(kind)
        hosts = (line for line in self._lines.waiting() if line is not None and kind_of_line(line) == ROW_LINE)
        return any(not self._gate((egress, line)).is_given_up for line in hosts)

    def _stop_if_given_up(self) -> None:
        """Stop when nothing is left that some egress may still be asked for.

        Raises:
            PausedError: So it is.
        """
        given_up: dict[Where, Gate] = {}
        for line in self._lines.waiting():
            for egress in filter(self._is_there, self._names):
                gates = {where: self._gate(where) for where in _gates_of(egress, line)}
                shut = {where: gate for where, gate in gates.items() if gate.is_given_up}
                if not shut:
                    return
                given_up |= shut
        until = min((gate.paused_until for gate in given_up.values()), default=self._clock())
        raise PausedError(self._farewell(list(given_up.items()), len(self._lines), until), until)

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
        return not self._later and not self._lines and not any(self._held.values())

    def has_forgotten(self) -> bool:
        """Whether rows were left out for want of room."""
        return self._has_forgotten

    def save(self, *, at_end: bool) -> None:
        """Keep the gates that have changed: a pause soon, tokens now and then, all at the end."""
        changed = {where: self._gates[where] for where in self._changed}
        before = {where: self._saved[where].paused_until if where in self._saved else 0.0 for where in changed}
        pauses = any(gate.paused_until != before[where] for where, gate in changed.items())
        is_first = any(where not in self._written for where in changed)
        every_s = SAVE_PAUSE_EVERY_S if pauses else SAVE_EVERY_S
        if changed and (at_end or is_first or self._clock() - self._saved_at >= every_s):
            # While the run goes on, no tokens are left to a next one: a kill may have used them.
            kept = changed if at_end else {where: replace(gate, tokens=0.0) for where, gate in changed.items()}
            save_gates(self._dataset, kept)
            self._written |= set(changed)
            self._saved.update(changed)
            self._changed, self._saved_at = set(), self._clock()

    def _is_to_be_kept(self, where: Where) -> bool:
        """Whether a gate says more than a fresh one: of the many hosts that rows may lead to most do not."""
        gate = self._gates[where]
        is_fresh = gate.code is None and gate.pace.videos_per_hour is None and where not in self._saved
        return not (is_fresh and kind_of_line(where[1]) == ROW_LINE)

    def note(self) -> str:
        """Which egresses pause until when, and whether the disk is full."""
        now, notes = self._clock(), []
        if self._routing.disk is not None and (full := self._routing.disk.complaint()):
            notes.append(f"pausing: {full}")
        pausing = [w for w in self._pausing if self._gates[w].paused_until > now and self._lines.waits(w[1])]
        for where in sorted(pausing, key=lambda where: self._gates[where].paused_at)[:NOTED]:
            gate, (egress, source) = self._gates[where], where
            why = "no connection" if gate.code in UNREACHED else gate.code
            notes.append(f"{source} through {egress} pauses until {_clock_text(gate.paused_until)}: {why}")
        if len(pausing) > NOTED:
            notes.append(f"and {len(pausing) - NOTED:,} more")
        return "; ".join(notes)


def _gates_of(egress: str, line: str | None) -> tuple[Where, ...]:
    """The gates that a request passes: its connection's, and where that is shared by many hosts, its host's."""
    if line is None:
        return ()
    kind = kind_of_line(line)
    return ((egress, kind),) if kind == line else ((egress, kind), (egress, line))


def _address_of(row: Row) -> Address:
    origin = Origin.of(row["url"])
    return origin.host, origin.port


def _clock_text(moment: float) -> str:
    """A time of day with its date, in this machine's zone."""
    return datetime.fromtimestamp(moment).astimezone().isoformat(sep=" ", timespec="seconds")
