import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from scipy.signal import chirp, resample_poly

from curation.cut import Cut, cut_clip
from curation.errors import ClipError, Code
from curation.keys import file_sha256
from curation.media import MediaStore
from curation.programs.ffmpeg import ffmpeg_path
from curation.schema import fact_schema
from curation.tables import rows_to_table

pytest_plugins = "tests.curation.encoding"

RATE_HZ = 48_000
FLAT = np.full((75, 48, 64), 40, np.uint8)


def chirp_s16(seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.round(12_000 * chirp(time_s, 100, seconds, 8_000)).astype(np.int16)[:, None]


@pytest.fixture
def cutter(tmp_path):
    """`cutter(path, start_ms, duration_ms, **knobs)` -> (sound of shape (samples, channels), result, Cut)."""

    def cut(path: Path, start_ms: int = 0, duration_ms: int | None = None, **knobs):
        stage = Cut(media=MediaStore(root=tmp_path / "media"), **knobs)
        values = stage.cut(path, {"start_ms": start_ms, "duration_ms": duration_ms}, tmp_path)
        flac = stage.media.path(values["audio_sha256"], ".flac")
        sound, rate_hz = soundfile.read(flac, dtype="int16", always_2d=True)
        assert (len(sound), rate_hz, sound.shape[1]) == (
            values["samples"],
            values["sample_rate_hz"],
            values["channels"],
        )
        return sound, values, stage

    return cut


def brightness(stage: Cut, values: dict) -> np.ndarray:
    with av.open(stage.media.path(values["video_sha256"], ".mp4")) as container:
        frames = [(frame.time, frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)]
    times = np.array([time for time, _ in frames])
    assert np.allclose(times, np.arange(len(frames)) / values["frame_rate_hz"], atol=1e-3)
    return np.array([mean for _, mean in frames])


def code_of(cut, *arguments, **knobs) -> Code:
    with pytest.raises(ClipError) as refused:
        cut(*arguments, **knobs)
    return refused.value.code


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_lossless_sound_at_the_same_rate_is_cut_bit_for_bit(name, encode, cutter):
    source = chirp_s16(4)
    sound, values, _ = cutter(encode(name, source), 1234, 1500)
    assert np.array_equal(sound, source[59_232 : 59_232 + 72_000])
    assert values["duration_ms_cut"] == 1500 and values["video_sha256"] is None


def test_a_cut_is_resampled_as_if_the_whole_had_been(encode, cutter):
    source = chirp_s16(4, 44_100)
    sound, values, _ = cutter(encode("a.wav", source, 44_100), 1234, 1500)
    whole = resample_poly(source[:, 0].astype(float), 160, 147)
    difference = sound[:, 0] - whole[59_232 : 59_232 + 72_000]
    assert values["samples"] == 72_000
    assert np.abs(difference).max() < 0.002 * 12_000


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.mp3", "libmp3lame"), ("a.opus", "libopus")])
def test_a_lossy_cut_starts_with_the_right_sample_and_without_a_fade(name, codec, encode, cutter):
    source = chirp_s16(4)
    sound, _, _ = cutter(encode(name, source, codecs=f"-c:a {codec} -b:a 160k"), 1234, 1500)
    expected = source[59_232 : 59_232 + 72_000, 0].astype(float)
    found = sound[:, 0].astype(float)
    size = 1 << 18
    correlation = np.fft.irfft(np.fft.rfft(found, size) * np.conj(np.fft.rfft(expected, size)))
    assert int(np.argmax(correlation)) == 0
    first = slice(0, 960)  # 20 ms
    assert np.abs(found[first] - expected[first]).max() < 0.25 * 12_000


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("suffix", "subtype"), [(".wav", "FLOAT"), (".wav", "DOUBLE"), (".aiff", "FLOAT")])
def test_samples_that_are_no_numbers_are_refused_and_the_clips_beside_them_cut(
    number, suffix, subtype, tmp_path, cutter
):
    clean, broken = tmp_path / f"clean{suffix}", tmp_path / f"broken{suffix}"
    sound = np.repeat(chirp_s16(3, 44_100) / 32_768, 2, axis=1)
    soundfile.write(clean, sound, 44_100, subtype=subtype)
    sound[44_100 + 11, 1] = number
    soundfile.write(broken, sound, 44_100, subtype=subtype)
    for start_ms, duration_ms in [(0, None), (500, 1000), (1000, 500)]:
        with pytest.raises(ClipError, match=r"UNREADABLE: the sound \(pcm_f.*\) has samples that are no numbers"):
            cutter(broken, start_ms, duration_ms)
    assert code_of(cutter, broken, 3000) == Code.EMPTY
    for start_ms, duration_ms in [(0, 900), (1100, 1000), (1100, None)]:
        (cut, *_), (expected, *_) = (cutter(path, start_ms, duration_ms) for path in (broken, clean))
        assert np.array_equal(cut, expected)


def test_a_wavpack_with_an_infinite_sample_is_refused(tmp_path, cutter):
    sound = chirp_s16(1)[:, 0] / 32_768
    sound[24_000] = np.inf
    soundfile.write(tmp_path / "a.wav", sound, RATE_HZ, subtype="FLOAT")
    command = [ffmpeg_path(), "-v", "error", "-i", str(tmp_path / "a.wav"), str(tmp_path / "a.wv")]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=60)
    assert code_of(cutter, tmp_path / "a.wv") == Code.UNREADABLE


def click_and_flash(times_s: list[float], seconds: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    sound = np.zeros((round(seconds * RATE_HZ), 1), np.int16)
    frames = np.full((round(seconds * 25), 48, 64), 16, np.uint8)
    for time_s in times_s:
        sound[round(time_s * RATE_HZ), 0] = 20_000
        frames[round(time_s * 25)] = 235
    return sound, frames


@pytest.mark.parametrize("sound_late_s", [0.0, 0.3])
@pytest.mark.parametrize("picture_late_s", [0.0, 0.2])
@pytest.mark.parametrize("start_ms", [0, 500, 1000])
def test_click_and_flash_keep_their_times(start_ms, sound_late_s, picture_late_s, encode, cutter):
    times_s = [0.72, 1.52, 2.32]
    sound, frames = click_and_flash(times_s)
    path = encode(
        "a.mkv",
        sound,
        frames=frames,
        codecs="-c:a flac -c:v libx264 -g 50",
        sound_late_s=sound_late_s,
        picture_late_s=picture_late_s,
    )
    heard, values, stage = cutter(path, start_ms, 2000)
    begin_s = start_ms / 1000 + min(sound_late_s, picture_late_s)  # a file's clock starts with its first stream
    clicks_s = np.flatnonzero(np.abs(heard[:, 0].astype(int)) > 10_000) / RATE_HZ
    flashes_s = np.flatnonzero(brightness(stage, values) > 120) / 25
    expected_clicks_s = [t + sound_late_s - begin_s for t in times_s if 0 <= t + sound_late_s - begin_s < 2]
    expected_flashes_s = [t + picture_late_s - begin_s for t in times_s if 0 <= t + picture_late_s - begin_s < 2]
    assert clicks_s == pytest.approx(expected_clicks_s, abs=0.0015)
    assert flashes_s == pytest.approx(expected_flashes_s, abs=0.0401)
    assert values["av_offset_ms"] == pytest.approx(1000 * (sound_late_s - picture_late_s), abs=1.0)


def test_click_and_flash_of_an_aac_mp4_stay_together(encode, cutter):
    sound, frames = click_and_flash([0.72, 1.52, 2.32])
    path = encode("a.mp4", sound, frames=frames, codecs="-c:a aac -c:v libx264 -bf 2")
    heard, values, stage = cutter(path, 700, 1500)
    click_s = np.argmax(np.abs(heard[:9600, 0].astype(int))) / RATE_HZ
    assert click_s == pytest.approx(0.02, abs=0.005)
    assert np.flatnonzero(brightness(stage, values) > 120)[0] / 25 == pytest.approx(0.02, abs=0.04)


def test_the_same_input_gives_the_same_bytes_and_no_texts_of_the_source(encode, cutter):
    path = encode("a.mp4", chirp_s16(2), frames=FLAT, codecs="-metadata title=Xyzzy -c:a aac")
    _, first, stage = cutter(path, 250, 1500)
    _, second, _ = cutter(path, 250, 1500)
    assert first == second
    for sha256, suffix in ((first["audio_sha256"], ".flac"), (first["video_sha256"], ".mp4")):
        content = stage.media.path(sha256, suffix).read_bytes()
        assert b"Xyzzy" not in content and b"Lavf" not in content


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((720, 1280), (256, 456)),
        ((640, 360), (456, 256)),
        ((100, 131), (100, 132)),
        ((1, 1), (2, 2)),
        ((6, 600), (6, 600)),
    ],
)
def test_pictures_are_made_small_and_even_but_never_larger(size, expected, encode, cutter):
    frames = np.full((5, *size), 90, np.uint8)
    _, values, _ = cutter(encode("a.mkv", chirp_s16(1), frames=frames, frame_rate_hz=5, codecs="-c:v ffv1 -c:a flac"))
    assert (values["height_px"], values["width_px"]) == expected


@pytest.mark.parametrize(("own_hz", "expected_hz"), [(50, 25.0), (25, 25.0), (12, 12.0), (1, 1.0)])
def test_frame_rates_are_bounded_and_lower_ones_kept(own_hz, expected_hz, encode, cutter):
    frames = np.full((2 * own_hz, 48, 64), 90, np.uint8)
    _, values, _ = cutter(encode("a.mp4", chirp_s16(2), frames=frames, frame_rate_hz=own_hz), 0, 2000)
    assert (values["frame_rate_hz"], values["frames"]) == (expected_hz, round(2 * expected_hz))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8])
def test_channels_are_kept_in_order(channels, encode, cutter):
    source = (np.arange(1, channels + 1) * 1000 + np.zeros((RATE_HZ, 1))).astype(np.int16)
    sound, values, _ = cutter(encode("a.wav", source), 100, 500)
    assert values["channels"] == channels
    assert np.array_equal(sound, source[4_800:28_800])


def test_more_channels_than_flac_has_are_refused(encode, cutter):
    assert code_of(cutter, encode("a.wav", np.zeros((4800, 9), np.int16))) == Code.TOO_LARGE


@pytest.mark.parametrize(("duration_ms", "may_miss_ms"), [(10_000, 500), (5000, 500), (2000, 200), (600, 100)])
def test_how_much_may_be_missing(duration_ms, may_miss_ms, encode, cutter):
    path = encode("a.wav", chirp_s16(12))
    start_ms = 12_000 - duration_ms + may_miss_ms
    assert code_of(cutter, path, start_ms + 1, duration_ms) == Code.TOO_SHORT
    assert cutter(path, start_ms - 1, duration_ms)[1]["samples"] == (duration_ms - may_miss_ms + 1) * 48


def test_a_whole_file_may_announce_half_a_second_too_much(cutter, tmp_path):
    """DSF: its length is guessed from its size, and its tags count."""
    sound = b"\x55\xaa" * 4096 * 9  # silence, two channels of blocks of 4096 bytes of 8 samples of 2.8224 MHz
    form = struct.pack("<4sQIIIIIIQII", b"fmt ", 52, 1, 0, 2, 2, 2_822_400, 1, len(sound) * 4, 4096, 0)
    data = struct.pack("<4sQ", b"data", 12 + len(sound)) + sound
    tags = b"ID3" + bytes(150_000)
    head = struct.pack("<4sQQQ", b"DSD ", 28, 28 + len(form) + len(data) + len(tags), 28 + len(form) + len(data))
    path = tmp_path / "a.dsf"
    path.write_bytes(head + form + data + tags)
    assert cutter(path)[1]["samples"] == pytest.approx(48_000 * len(sound) * 4 / 2_822_400, abs=50)


def test_a_picture_that_is_longer_than_its_sound_makes_no_short_file_truncated(encode, cutter):
    path = encode("a.mkv", chirp_s16(0.7), frames=FLAT[:25], codecs="-c:a flac -c:v libx264")
    assert cutter(path)[1]["samples"] == 0.7 * RATE_HZ


def test_a_clip_behind_the_end_is_too_short(encode, cutter):
    assert code_of(cutter, encode("a.wav", chirp_s16(1)), 5000, 400) == Code.TOO_SHORT


@pytest.mark.parametrize("name", ["a.flac", "a.mkv", "a.mp4", "a.wav"])
def test_a_file_that_ends_against_its_own_word_is_truncated(name, encode, cutter):
    noise = np.random.default_rng(1).normal(0, 0.1, (4 * RATE_HZ, 1))
    path = encode(name, noise, codecs="-movflags +faststart" if name == "a.mp4" else "")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert code_of(cutter, path, 0, 4000) == Code.TRUNCATED
    assert code_of(cutter, path) == Code.TRUNCATED
    assert cutter(path, 0, 1000)[1]["samples"] == 48_000  # what is there is whole


def test_packets_that_do_not_decode_are_no_silence(encode, cutter):
    path = encode("a.mp3", np.random.default_rng(1).normal(0, 0.1, (4 * RATE_HZ, 1)), codecs="-b:a 128k")
    content = bytearray(path.read_bytes())
    content[20_000:40_000] = bytes(20_000)
    path.write_bytes(content)
    assert code_of(cutter, path, 0, 4000) in (Code.UNREADABLE, Code.TRUNCATED, Code.TOO_SHORT)


def test_a_picture_alone_has_no_audio(encode, cutter):
    assert code_of(cutter, encode("a.mp4", frames=FLAT)) == Code.NO_AUDIO


def test_a_needed_picture_that_is_missing(encode, cutter):
    path = encode("a.wav", chirp_s16(1))
    assert code_of(cutter, path, need_picture=True) == Code.NO_VIDEO
    assert cutter(path)[1]["frames"] is None


def test_sound_beside_a_broken_picture_is_cut_alone(encode, cutter, break_picture):
    source = chirp_s16(3)
    path = encode("a.mp4", source, frames=FLAT, codecs="-c:a flac -c:v libx264")
    _, whole, _ = cutter(path, 500, 1500)
    assert whole["picture_code"] is None and whole["video_sha256"] is not None
    break_picture(path)
    sound, values, _ = cutter(path, 500, 1500)
    assert np.array_equal(sound, source[24_000 : 24_000 + 72_000])
    assert (values["picture_code"], values["video_sha256"], values["frames"]) == (Code.UNREADABLE, None, None)
    assert code_of(cutter, path, 500, 1500, need_picture=True) == Code.UNREADABLE


def test_a_source_without_a_picture_says_so(encode, cutter):
    assert cutter(encode("a.wav", chirp_s16(1)))[1]["picture_code"] == Code.NO_VIDEO


def test_no_samples_are_empty(encode, cutter):
    assert code_of(cutter, encode("a.wav", np.zeros((0, 1), np.int16))) == Code.EMPTY


def test_a_cut_that_takes_too_long_is_a_timeout(encode, cutter):
    path = encode("a.wav", np.zeros((600 * RATE_HZ, 1), np.int16))
    assert code_of(cutter, path, timeout_s=0.02) == Code.TIMEOUT


def test_results_fit_the_declared_columns(encode, cutter):
    _, values, _ = cutter(encode("a.mp4", chirp_s16(2), frames=FLAT))
    assert set(values) == set(Cut.RESULTS.names)
    assert rows_to_table([{"key": "k", **values}], fact_schema(Cut.RESULTS)).num_rows == 1


def test_files_are_named_by_what_they_hold(encode, cutter):
    _, values, stage = cutter(encode("a.mp4", chirp_s16(2), frames=FLAT))
    for sha256, suffix in ((values["audio_sha256"], ".flac"), (values["video_sha256"], ".mp4")):
        assert file_sha256(stage.media.path(sha256, suffix)) == sha256


def test_the_build_is_part_of_the_identity_and_the_time_is_not(tmp_path):
    store = MediaStore(root=tmp_path)
    assert Cut(media=store, timeout_s=1.0).identity() == Cut(media=store).identity()
    assert Cut(media=store, ffmpeg="other").identity() != Cut(media=store).identity()
    assert Cut(media=store, crf=30).folder_name != Cut(media=store).folder_name


@pytest.mark.parametrize(
    ("knobs", "text"),
    [
        ({"short_side_px": 255}, "255"),
        ({"crf": 52}, "52"),
        ({"sample_rate_hz": 0}, "not 0"),
        ({"timeout_s": 0}, "not 0"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        Cut(media=MediaStore(root=tmp_path), **knobs)


def test_a_span_without_length_is_a_bug(tmp_path):
    with pytest.raises(ValueError, match="duration_ms > 0, not 0 and 0"):
        cut_clip(Path(sys.executable), 0, 0, Cut(media=MediaStore(root=tmp_path)), tmp_path)
