"""The program that looks into untrusted media files and prints what is there as JSON.

Run by `curation/programs/forked.py`, by path and with `python -I`, so it imports nothing of ours. Each file is opened
in a child that is forked for it: a demuxer or decoder that crashes, hangs or fills the memory takes only that child
with it.
"""

import contextlib
import json
import os
import resource
import selectors
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import av
from av.stream import Disposition

TAIL_BYTES = 65_536
"""How much of the end of each output of a child is kept. Source: ours."""

NOT_A_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails
"""Cover art and thumbnails are not the picture that goes with the sound."""


def seconds(value: int | None, time_base: Any) -> float | None:
    """A timestamp in seconds, or None where the file does not say."""
    return None if value is None or time_base is None else float(value * time_base)


def preferred(streams: list[Any]) -> Any:
    """The stream marked as the default one, else the first; None for no stream."""
    return min(streams, key=lambda stream: (not stream.disposition & Disposition.default, stream.index), default=None)


def sound_stream(stream: Any) -> dict[str, Any]:
    """What a file says about a sound stream."""
    context = stream.codec_context
    return {
        "index": stream.index,
        "codec": context.name,
        "sample_rate_hz": context.sample_rate,
        "channels": context.layout.nb_channels,
        "start_s": seconds(stream.start_time, stream.time_base),
        "duration_s": seconds(stream.duration, stream.time_base),
    }


def picture_stream(stream: Any) -> dict[str, Any]:
    """What a file says about a picture stream; the frame rate as a fraction, None where it does not say."""
    context = stream.codec_context
    rate = stream.average_rate or stream.guessed_rate
    return {
        "index": stream.index,
        "codec": context.name,
        "width_px": context.width,
        "height_px": context.height,
        "frame_rate": [rate.numerator, rate.denominator] if rate else None,
        "start_s": seconds(stream.start_time, stream.time_base),
        "duration_s": seconds(stream.duration, stream.time_base),
    }


def look(address: str, options: dict[str, str]) -> dict[str, Any]:
    """Open a file and describe its sound and its picture."""
    with av.open(address, options=options) as container:
        sound = preferred([stream for stream in container.streams.audio if stream.codec_context is not None])
        pictures = [stream for stream in container.streams.video if stream.codec_context is not None]
        picture = preferred([stream for stream in pictures if not stream.disposition & NOT_A_PICTURE])
        return {
            "format": container.format.name,
            "start_s": None if container.start_time is None else container.start_time / av.time_base,
            "duration_s": None if container.duration is None else container.duration / av.time_base,
            "sound": sound_stream(sound) if sound else None,
            "picture": picture_stream(picture) if picture else None,
        }


def print_what_is_there(address: str, options: dict[str, str]) -> int:
    """JSON on standard output and exit code 0, or the reason on standard error and 1."""
    try:
        found = look(address, options)
    except (av.error.FFmpegError, MemoryError) as error:
        print(getattr(error, "strerror", "") or "Cannot allocate memory", file=sys.stderr, flush=True)
        return 1
    print(json.dumps(found), flush=True)
    return 0


def limit(bounds: dict[str, Any]) -> None:
    """Set the limits of this process, where the system has them all (Linux)."""
    if sys.platform != "linux":
        return
    resource.setrlimit(resource.RLIMIT_CPU, (bounds["cpu_s"], bounds["cpu_s"]))
    resource.setrlimit(resource.RLIMIT_AS, (bounds["memory_bytes"], bounds["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (bounds["file_bytes"], bounds["file_bytes"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def child(request: dict[str, Any], stdout: int, stderr: int) -> NoReturn:
    """What the forked process does: it has nothing open but the two pipes, and looks into one file."""
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.closerange(3, stderr + 2)
        limit(request["limits"])
        code = print_what_is_there(request["address"], request["options"])
    finally:
        os._exit(code)


def gather(pipes: dict[int, bytes], deadline: float) -> bool:
    """Read pipes to their ends, keeping the tails; False when the deadline came first."""
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            left_s = deadline - time.monotonic()
            ready = selector.select(left_s) if left_s > 0 else []
            if not ready:
                return False
            for key, _ in ready:
                chunk = os.read(key.fd, TAIL_BYTES)
                pipes[key.fd] = (pipes[key.fd] + chunk)[-TAIL_BYTES:]
                if not chunk:
                    selector.unregister(key.fd)
    return True


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Fork a child for one file and say how it ended."""
    deadline = time.monotonic() + request["limits"]["wall_s"]
    out, out_child = os.pipe()
    err, err_child = os.pipe()
    process = os.fork()
    if process == 0:
        child(request, out_child, err_child)
    os.close(out_child)
    os.close(err_child)
    pipes = {out: b"", err: b""}
    in_time = gather(pipes, deadline)
    ended, status = os.waitpid(process, os.WNOHANG)
    while not ended and time.monotonic() < deadline:  # it has closed its pipes, so it is about to end
        time.sleep(0.0005)
        ended, status = os.waitpid(process, os.WNOHANG)
    if not ended:
        in_time = False
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
    os.close(out)
    os.close(err)
    return {
        "returncode": os.waitstatus_to_exitcode(status),
        "timed_out": not in_time,
        "stdout": pipes[out].decode(errors="replace"),
        "stderr": pipes[err].decode(errors="replace"),
    }


def main() -> int:
    """Answer each line of standard input with a line; at its end remove the (empty) working folder and end.

    A line asks for `address`, `options` and `limits`; the answer says how the child that looked ended.
    """
    av.logging.restore_default_callback()  # what the libraries say reaches standard error
    av.logging.set_level(av.logging.ERROR)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
    with contextlib.suppress(OSError):
        Path.cwd().rmdir()
    return 0


if __name__ == "__main__":
    sys.exit(main())
