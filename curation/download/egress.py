"""An egress: one way out to the network, how fast it may ask a source, and when it has to pause.

An egress is a node, a proxy or a cookie file. A rate limit, a bot check and a lost connection belong to it and say
nothing about the video that met them. For each source there is one `Gate` an egress: a token bucket and a circuit
breaker. Everything here is a pure rule, with the time as an argument; who waits and who is asked next is the runner's
part (`pipelines/routes.py`), and `curation/download/pace.py` keeps the gates on the disk.
"""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from curation.errors import ArgumentError, Code

REFUSALS = frozenset({Code.RATE_LIMITED, Code.BOT_CHECK})
"""Answers that pause the egress and are no attempt of the video."""

UNREACHED = frozenset({Code.NETWORK, Code.TIMEOUT})
"""Failures that may be the connection's as well as the video's: which, the videos around it say."""

IN_A_ROW = 20
"""So many videos in a row that could not be reached mean that the connection, not the videos, is gone. Source: ours; at
a mirror on which every tenth file is broken that happens by chance once in 10^20 videos."""

GUEST_VIDEOS_PER_HOUR = 300.0
"""What YouTube gives one guest session. Source: yt-dlp's wiki, Extractors, "This content isn't available"."""


ROW_LINE = "row"
"""Rows with a url of their own wait in lines of this kind, `row HOST`. Each host has its pace and its pauses; whether
the connection is there, all of them tell together."""


def kind_of_line(line: str) -> str:
    """`row` for the line of any host, otherwise the line itself."""
    return ROW_LINE if line.startswith(f"{ROW_LINE} ") else line


@dataclass(frozen=True, kw_only=True, slots=True)
class Egress:
    """One way out.

    Args:
        name: Under which its budget is kept; the node's own name by default.
        proxy: Address of a proxy that everything goes through; None goes out directly.
        cookies: Cookie file of the session; None sends no cookies.
    """

    name: str
    proxy: str | None = None
    cookies: Path | None = None

    def __post_init__(self) -> None:
        if self.proxy is not None:
            proxy_place(self.proxy)
        if not self.name:
            raise ArgumentError("an egress must have a name")


def proxy_place(proxy: str) -> str:
    """Host and port of a proxy's address, without user and password.

    Raises:
        ArgumentError: It is none that can be used.
    """
    try:
        parts = urlsplit(proxy)
        is_one = parts.scheme in ("http", "socks4", "socks5", "socks5h") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        shown = re.sub(r"(://)[^/@\s]+@", r"\1***@", proxy)
        raise ArgumentError(f"--proxy {shown!r}: give an address as http://host:3128 or socks5h://host:1080")
    return parts.netloc.rpartition("@")[2]


def egresses(proxies: Sequence[str] = (), cookies: Sequence[Path] = ()) -> tuple[Egress, ...]:
    """The ways out of this machine: itself, or one for each proxy, cookie file, or pair of them.

    Raises:
        ArgumentError: Both are given in different numbers, or one twice.
    """
    if proxies and cookies and len(proxies) != len(cookies):
        raise ArgumentError(
            f"{len(proxies)} --proxy and {len(cookies)} --cookies: give as many of one as of the other, or one kind"
        )
    here, count = socket.gethostname(), max(len(proxies), len(cookies), 1)
    made = []
    for number in range(count):
        proxy = proxies[number] if proxies else None
        cookie = cookies[number] if cookies else None
        place = proxy_place(proxy) if proxy else here
        made.append(Egress(name=f"{place}/{cookie.stem}" if cookie else place, proxy=proxy, cookies=cookie))
    if len({egress.name for egress in made}) < count:
        raise ArgumentError(f"--proxy or --cookies name one way out twice: {', '.join(e.name for e in made)}")
    return tuple(made)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast one egress may ask one source, and how long it pauses when it is told to.

    Args:
        videos_per_hour: Tokens that the bucket gets; None for no bound.
        burst: Most tokens in the bucket. 10: ours; with 300 an hour a run that waited may ask ten at once.
        first_pause_s: Pause after a first refusal, s; every further one in a row doubles it.
        longest_pause_s: Longest pause, s.
        refusals: After so many in a row the egress is given up for this run.
        lost_pause_s: Pause after the connection was lost, s, doubled likewise. 5 s: ours; a router restarts in minutes.
        losses: After so many pauses in a row without an answer the egress is given up. 6: ours; five minutes in all.
    """

    videos_per_hour: float | None = None
    burst: int = 10
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0
    refusals: int = 5
    lost_pause_s: float = 5.0
    losses: int = 6

    def __post_init__(self) -> None:
        if self.videos_per_hour is not None and not self.videos_per_hour > 0:
            raise ArgumentError(f"--rate must be above 0 videos an hour, not {self.videos_per_hour}")
        for name in ("burst", "first_pause_s", "longest_pause_s", "refusals", "lost_pause_s", "losses"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")

    def pause_s(self, code: Code, streak: int) -> float:
        """Length of the pause after the `streak`-th refusal or loss in a row, s."""
        first_s = self.first_pause_s if code in REFUSALS else self.lost_pause_s
        return min(first_s * 2.0 ** min(streak - 1, 40), max(self.longest_pause_s, first_s))

    def most_in_a_row(self, code: Code) -> int:
        """How many refusals, or losses, in a row end the run."""
        return self.refusals if code in REFUSALS else self.losses


MIRROR = Pace()
"""A mirror: 1 s, doubled up to a minute, and five refusals in a row, half a minute, end the run. Source: ours; a mirror
is one's own or has somebody to ask."""

YOUTUBE = Pace(
    videos_per_hour=GUEST_VIDEOS_PER_HOUR, first_pause_s=300.0, longest_pause_s=3600.0, refusals=24, losses=12
)
"""YouTube: 5, 10, 20, 40 minutes, then an hour each, since a block lasts up to an hour (yt-dlp's own message); 24
refusals in a row, most of a day without one video, end the run, since waiting longer has helped nobody. Source of the
first pause and of the 24: ours."""


def pace_of(kind: str, rate: float | None = None) -> Pace:
    """The pace of a kind of source.

    Args:
        kind: `youtube`, or anything else.
        rate: Videos an hour that the user allows; None takes what is known of the source.
    """
    known = YOUTUBE if kind == "youtube" else MIRROR
    return known if rate is None else replace(known, videos_per_hour=rate)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """What one egress may still ask of one source: a token bucket and a circuit breaker at one moment.

    Args:
        pace: The rule.
        tokens: Videos that may be asked at `counted_at`, 0 to `pace.burst`.
        counted_at: When the tokens were counted, seconds since 1970.
        code: Why it was refused last; None after an answer.
        streak: Refusals or losses in a row.
        paused_at: When the last pause began, seconds since 1970.
        paused_until: When it ends.
    """

    pace: Pace
    tokens: float
    counted_at: float
    code: Code | None = None
    streak: int = 0
    paused_at: float = 0.0
    paused_until: float = 0.0

    @classmethod
    def fresh(cls, pace: Pace, now: float) -> "Gate":
        """A gate that nothing went through yet."""
        return cls(pace=pace, tokens=float(pace.burst), counted_at=now)

    def _filled(self, now: float) -> float:
        if self.pace.videos_per_hour is None:
            return float(self.pace.burst)
        gained = max(now - self.counted_at, 0.0) * self.pace.videos_per_hour / 3600.0
        return min(self.tokens + gained, float(self.pace.burst))

    def opens_at(self, now: float) -> float:
        """When the next video may be asked, seconds since 1970: not before `now`."""
        missing = max(1.0 - self._filled(now) - 1e-9, 0.0)  # a token that lacks a rounding error is whole
        wait_s = missing * 3600.0 / self.pace.videos_per_hour if self.pace.videos_per_hour is not None else 0.0
        return max(now + wait_s, self.paused_until)

    @property
    def is_on_trial(self) -> bool:
        """Whether the last word was a refusal: then one video at a time is let through, until one is answered."""
        return self.streak > 0

    @property
    def is_given_up(self) -> bool:
        """Whether there were so many refusals or losses in a row that waiting on is of no use."""
        return self.code is not None and self.streak >= self.pace.most_in_a_row(self.code)

    def take(self, now: float) -> "Gate":
        """The gate after one video went through."""
        return replace(self, tokens=max(self._filled(now) - 1.0, 0.0), counted_at=now)

    def refuse(self, code: Code, now: float, *, asked_at: float, retry_after_s: float | None = None) -> "Gate":
        """The gate after a refusal, or after the connection was lost.

        An answer to a question that was put before the last pause began is the same refusal once more: it may lengthen
        the pause to what the source asks for, but does not count.

        Args:
            code: RATE_LIMITED, BOT_CHECK, or NETWORK for a lost connection.
            now: The time, seconds since 1970.
            asked_at: When the question was put.
            retry_after_s: How long the source says to wait, s, believed up to the longest of YouTube's pauses.
        """
        asked_s = min(max(retry_after_s or 0.0, 0.0), YOUTUBE.longest_pause_s)
        if self.streak and asked_at < self.paused_at:
            return replace(self, paused_until=max(self.paused_until, now + asked_s))
        streak = self.streak + 1 if (self.code in REFUSALS) == (code in REFUSALS) else 1
        until = now + max(self.pace.pause_s(code, streak), asked_s)
        return replace(self, code=code, streak=streak, paused_at=now, paused_until=until)

    def answer(self, *, asked_at: float) -> "Gate":
        """The gate after any other answer, which ends a row of refusals, if it was asked for after the last of them."""
        if not self.streak or asked_at < self.paused_at:
            return self
        return replace(self, code=None, streak=0, paused_at=0.0, paused_until=0.0)

    def again(self) -> "Gate":
        """The gate for a new run: one that was given up gets one more chance after its pause."""
        if not self.is_given_up or self.code is None:
            return self
        return replace(self, streak=max(self.pace.most_in_a_row(self.code) - 1, 1))
