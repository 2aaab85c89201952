import contextlib
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import ffmpeg
import numpy as np
import pytest
import soundfile

from curation.cut import Cut
from curation.errors import ClipError, Code, StoppedError
from curation.media import MediaStore
from curation.programs.contained import Finished, Limits
from curation.programs.ffmpeg import complaint, ffmpeg_path, ffmpeg_version, raise_for, run_ffmpeg, untrusted_input
from curation.programs.probe import probe

SECRET = (np.sin(np.arange(48_000) / 7.0) * 12_000).astype(np.int16)

HOSTILE = {
    "ffconcat": "ffconcat version 1.0\nfile secret.wav\n",
    "ffconcat-address": "ffconcat version 1.0\nfile {address}\n",
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nsecret.wav\n#EXT-X-ENDLIST\n",
    "m3u8-address": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{address}\n#EXT-X-ENDLIST\n",
    "m3u8-master": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{address}\n",
    "mpd": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"'
        ' profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="audio/wav">'
        '<Representation id="1" bandwidth="1"><BaseURL>{address}</BaseURL></Representation></AdaptationSet>'
        "</Period></MPD>"
    ),
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
}


@pytest.fixture
def server():
    """A loopback server that gives everyone the secret, and the list of what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield listening.server_port, asked
        listening.shutdown()


def hostile_file(folder: Path, kind: str, suffix: str, port: int) -> Path:
    soundfile.write(folder / "secret.wav", SECRET, 48_000)
    path = folder / f"video{suffix}"
    path.write_text(HOSTILE[kind].format(address=f"http://127.0.0.1:{port}/secret.wav", port=port))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".flac"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_playlists_that_pose_as_media_are_unreadable_and_open_nothing(kind, suffix, server, tmp_path):
    port, asked = server
    path = hostile_file(tmp_path, kind, suffix, port)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(ClipError) as refused:
        probe(path)
    assert refused.value.code == Code.UNREADABLE
    with contextlib.suppress(ClipError):  # ffmpeg itself, which the prober stands before
        run_ffmpeg(ffmpeg.output(untrusted_input(path), "out.wav"), scratch=scratch, limits=Limits(wall_s=20.0))
    store = MediaStore(root=tmp_path / "media")
    with pytest.raises(ClipError):
        Cut(media=store).cut(path, {"start_ms": 0, "duration_ms": 1000}, scratch)
    assert asked == []
    assert all(SECRET[1000:1100].tobytes() not in left.read_bytes() for left in scratch.iterdir())
    assert not store.root.exists()


def test_without_the_list_of_formats_a_playlist_would_open_its_neighbour(tmp_path):
    path = hostile_file(tmp_path, "ffconcat", ".mp4", 1)
    command = [ffmpeg_path(), "-v", "error", "-protocol_whitelist", "file,pipe", "-i", str(path), "-f", "s16le", "-"]
    leaked = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=60).stdout
    assert SECRET.tobytes() in leaked


@pytest.mark.parametrize(
    "name", ["-y.wav", "concat:a.wav|b.wav", "a%03d.wav", "http:x.wav", "data:,x", "a,b=c;'d'.wav"]
)
def test_names_with_a_meaning_are_only_names(name, tmp_path):
    soundfile.write(tmp_path / "plain.wav", SECRET, 48_000)
    (tmp_path / "plain.wav").rename(tmp_path / name)
    cut = Cut(media=MediaStore(root=tmp_path / "media"))
    values = cut.cut(tmp_path / name, {"start_ms": 0, "duration_ms": 1000}, tmp_path)
    found, _ = soundfile.read(cut.media.path(values["audio_sha256"], ".flac"), dtype="int16")
    assert np.array_equal(found, SECRET)


def finished(returncode: int, stderr: str = "", timed_out: bool = False) -> Finished:
    return Finished(returncode=returncode, timed_out=timed_out, stdout="", stderr=stderr)


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (finished(-signal.SIGKILL, timed_out=True), Code.TIMEOUT),
        (finished(-signal.SIGXFSZ), Code.TOO_LARGE),
        (finished(1, "Cannot allocate memory"), Code.TOO_LARGE),
        (finished(-signal.SIGSEGV), Code.UNREADABLE),
        (finished(0, "stream 0, offset 0x30: partial file"), None),
        (finished(183, "stream 0, offset 0x30: partial file"), Code.TRUNCATED),
        (finished(1, "Invalid data found"), Code.UNREADABLE),
    ],
)
def test_failures_have_codes(ended, code):
    if code is None:
        return raise_for(ended, "ffmpeg")
    with pytest.raises(ClipError) as raised:
        raise_for(ended, "ffmpeg")
    assert raised.value.code == code


@pytest.mark.parametrize("ended", [finished(1, "x: No space left on device"), finished(-signal.SIGKILL)])
def test_a_full_disk_and_a_foreign_kill_stop_the_work(ended):
    with pytest.raises(StoppedError):
        raise_for(ended, "ffmpeg")


def test_a_complaint_has_neither_addresses_nor_folders():
    text = (
        "[flac @ 0x55d3ab] bad frame\n[in#0 @ 0x1] file:/home/someone/my video/x.flac: broken\nTask finished with 1\n"
    )
    assert complaint(text) == "[flac] bad frame | [in#0] x.flac: broken"


def test_the_build_has_a_name():
    assert ffmpeg_version().startswith("n")


def test_a_binary_that_is_missing_stops_the_work(monkeypatch):
    def missing():
        raise RuntimeError("No ffmpeg exe could be found")

    ffmpeg_path.cache_clear()
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", missing)
    with pytest.raises(StoppedError, match="imageio-ffmpeg"):
        ffmpeg_path()
    monkeypatch.undo()
    ffmpeg_path.cache_clear()
