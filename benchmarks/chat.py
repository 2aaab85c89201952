"""Clips a second through a chat server, against what the server can do: slots / latency.

The server is a process of its own on the loopback address that answers after a fixed time, so many questions at once;
nothing could ask it faster. Asked are clips of 10 s whose waves are at hand, each as a WAV in JSON, more at once than
there are slots, as one would for a server with a queue. Beside it stands the verb `caption` with all around it, files
read and resampled, answers cached, rows committed; where that is slower, reading sounds is what the processors do.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from benchmarks import Measured
from benchmarks._made_clips import HEARD_HZ, captionable, sounds_of_many_lengths
from captioning.captioner import Sound
from captioning.prompt import load_prompt
from captioning.server.chat_server import ChatCaptioner, ChatServer
from pipelines.verbs.caption import caption
from pipelines.wiring.captioners import ModelOptions

SERVERS = ((0.05, 8), (0.2, 32))
"""(latency, s; slots): the first is the one whose ratio counts."""

AT_ONCE = 3
"""Questions under way for each slot."""

SECONDS = 10.0
ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def server(latency_s: float, slots: int) -> Iterator[str]:
    """A running server; gives its address."""
    command = [sys.executable, "-m", "benchmarks._chat_stand_in", str(latency_s), str(slots)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        yield f"http://127.0.0.1:{running.stdout.readline().strip()}/v1"
        running.communicate()


def asked_a_second(url: str, sounds: list[Sound], slots: int) -> float:
    """Clips a second of the captioner alone."""
    captioner = ChatCaptioner(ChatServer.at(url, concurrency=AT_ONCE * slots))
    captioner.caption(sounds[:1], load_prompt("sound-v1"))
    begun = time.perf_counter()
    answers = captioner.caption(sounds, load_prompt("sound-v1"))
    seconds = time.perf_counter() - begun
    if not all(isinstance(answer, str) for answer in answers):
        raise RuntimeError(f"not every clip was answered: {[one for one in answers if not isinstance(one, str)][:3]}")
    return len(sounds) / seconds


def captioned_a_second(url: str, folder: Path, clips: int, slots: int) -> float:
    """Clips a second of the verb, over a dataset."""
    dataset = captionable(folder / "dataset", clips, seconds=SECONDS)
    with patch.dict(os.environ, {"FOUNDSOUND_CACHE": str(folder / "cache")}):
        begun = time.perf_counter()
        result = caption(dataset.path, captioner=url, model=ModelOptions(batch=AT_ONCE * slots), workers=0)
        seconds = time.perf_counter() - begun
    if result.tally.done != clips:
        raise RuntimeError(f"{result.tally.done} of {clips} clips were captioned: {result.tally.set_aside}")
    return clips / seconds


def measure(clips: int = 1200, verb_clips: int = 400, rounds: int = 2) -> Measured:
    waves, kind = sounds_of_many_lengths(32)
    fill = round(SECONDS * HEARD_HZ)
    sounds = [
        Sound(key=f"clip-{n}", wave_T=waves[n % len(waves)].repeat(10)[:fill], sample_rate_hz=HEARD_HZ)
        for n in range(clips)
    ]
    measured: Measured = {"ratio": 0.0, "peer": "slots / latency of a server on the loopback address"}
    for latency_s, slots in SERVERS:
        capacity, name = slots / latency_s, f"{latency_s * 1000:.0f}_ms_{slots}_slots"
        with server(latency_s, slots) as url:
            rate = max(asked_a_second(url, sounds, slots) for _ in range(rounds))
        measured[f"clips_a_second_{name}"] = rate
        measured[f"peer_clips_a_second_{name}"] = capacity
        measured[f"ratio_{name}"] = rate / capacity
    measured["ratio"] = measured[f"ratio_{SERVERS[0][0] * 1000:.0f}_ms_{SERVERS[0][1]}_slots"]
    with tempfile.TemporaryDirectory() as folder, server(*SERVERS[0]) as url:
        measured["verb_clips_a_second"] = captioned_a_second(url, Path(folder), verb_clips, SERVERS[0][1])
    return {**measured, "clips": clips, "clip_s": SECONDS, "sounds": kind}
