"""`foundsound generate`: any mix of prompts, from options or a file; what is there is not made again."""

import errno
import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image
from safetensors.torch import load_file, save_file

from curation.errors import ArgumentError
from pipelines.makers.manner import Manner
from pipelines.verbs.generate import generate, write_wav
from tests.models.audiox.tiny_audiox import save_audiox

QUICK = {"seconds": 0.4, "steps": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_audiox(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    noise = np.random.default_rng(0).standard_normal(300) / 8
    soundfile.write(folder / "bell.wav", noise, 1000)
    pixels = np.random.default_rng(1).integers(0, 256, (5, 16, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels[4]).save(folder / "noise.png")
    with av.open(str(folder / "clip.mp4"), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for picture in pixels[:4]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return folder


def wave(file: Path) -> np.ndarray:
    found, rate_hz = soundfile.read(file, dtype="float32")
    assert rate_hz == 1000
    return found


def test_sounds_of_two_texts_are_written_with_what_they_are_made_from(run: Path, tmp_path: Path) -> None:
    made = generate(run, text=["rain", "a siren"], count=2, out=tmp_path, **QUICK)
    assert len(made.files) == 4
    assert all(len(wave(file)) == 400 for file in made.files)
    assert not np.array_equal(wave(made.files[0]), wave(made.files[1])), "two sounds of one text"
    about = json.loads(made.files[2].with_suffix(".json").read_text())
    assert (about["text"], about["number"], about["seed"], about["steps"]) == ("a siren", 2, 0, 2)
    assert len(about["network_sha256"]) == 64


def test_only_what_is_missing_is_made_and_it_is_the_same(run: Path, tmp_path: Path) -> None:
    made = generate(run, text=["rain", "siren", "dog"], out=tmp_path, **QUICK)
    before = {file: wave(file) for file in made.files}
    made.files[1].unlink()
    times = {file: file.stat().st_mtime_ns for file in (made.files[0], made.files[2])}
    again = generate(run, text=["rain", "siren", "dog"], out=tmp_path, manner=Manner(at_once=1), **QUICK)
    assert again.files == made.files
    np.testing.assert_allclose(wave(made.files[1]), before[made.files[1]], atol=2 / 32768)
    assert {file: file.stat().st_mtime_ns for file in times} == times
    other = generate(run, text=["rain"], out=tmp_path, manner=Manner(guide=("text=2.5",)), **QUICK)
    assert other.files[0] not in made.files


def test_every_kind_of_prompt_makes_another_sound(run: Path, media: Path, tmp_path: Path) -> None:
    ways = {
        "none": {},
        "video": {"video": media / "clip.mp4"},
        "image": {"image": media / "noise.png"},
        "audio": {"audio": media / "bell.wav"},
        "music": {"manner": Manner(music=media / "bell.wav")},
    }
    waves = {
        name: wave(generate(run, text=["rain"], out=tmp_path / name, **more, **QUICK).files[0])
        for name, more in ways.items()
    }
    for name, other in waves.items():
        same = [one for one, found in waves.items() if np.array_equal(found, other)]
        assert same == [name]
    assert [path.suffix for path in sorted((tmp_path / "video").iterdir())] == [".json", ".mp4", ".wav"]
    assert not list((tmp_path / "image").glob("*.mp4"))
    (laid,) = (tmp_path / "video").glob("*.mp4")
    told = generate(run, text=["rain"], video=media / "clip.mp4", out=tmp_path / "video", **QUICK)
    assert list(told.movies) == [laid] and str(told).splitlines() == [str(told.files[0]), str(laid)]
    with av.open(str(laid)) as container:
        assert {stream.type for stream in container.streams} == {"video", "audio"}


def test_a_sound_goes_on_and_a_gap_is_filled(run: Path, media: Path, tmp_path: Path) -> None:
    bell = wave(media / "bell.wav")
    on = generate(run, text=["rain"], out=tmp_path, manner=Manner(go_on=media / "bell.wav"), **QUICK)
    manner = Manner(fill=("0.1-0.2",))
    filled = generate(run, audio=media / "bell.wav", out=tmp_path, manner=manner, seconds=0.3, steps=2)
    on_wave, filled_wave = wave(on.files[0]), wave(filled.files[0])
    assert (len(on_wave), len(filled_wave)) == (400, 300)
    assert np.abs(on_wave[320:]).max() > 0.01
    # What is kept is the sound itself but for 10 ms beside the gap, though the codec keeps 4 of 20 values a frame.
    for made, outside in ((on_wave, slice(0, 290)), (filled_wave, slice(0, 90)), (filled_wave, slice(210, 300))):
        np.testing.assert_allclose(made[outside], bell[outside], atol=2 / 32768)
    assert np.abs(filled_wave[100:200] - bell[100:200]).max() > 0.01
    with pytest.raises(ArgumentError, match=r"lasts 0\.30 s and --seconds is 0\.3"):
        generate(run, out=tmp_path, manner=Manner(go_on=media / "bell.wav"), seconds=0.3, steps=2)


def test_prompts_of_a_file(run: Path, media: Path, tmp_path: Path) -> None:
    rows = [{"text": "rain", "seed": 5}, {"text": "rain", "seed": 5}, {"image": "noise.png"}]
    (media / "prompts.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    made = generate(run, out=tmp_path, manner=Manner(prompts=media / "prompts.jsonl", at_once=2), **QUICK)
    first, second, third = (wave(file) for file in made.files)
    np.testing.assert_allclose(first, second, atol=2 / 32768)
    assert not np.array_equal(first, third)
    alone = generate(run, text=["rain"], out=tmp_path / "alone", seed=5, **QUICK)
    np.testing.assert_allclose(wave(alone.files[0]), first, atol=2 / 32768)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give --text"),
        ({"text": ["rain"], "count": 0}, "--count must be at least 1"),
        ({"text": ["rain"], "video": Path("gone.mp4")}, "there is no video gone.mp4"),
        ({"text": ["rain"], "manner": Manner(fill=("0.1-0.2",))}, "--fill needs --audio"),
        ({"text": ["rain"], "steps": 0}, "--steps must be at least 1, not 0"),
        ({"text": ["rain"], "steps": -1}, "--steps must be at least 1, not -1"),
        ({"text": ["rain"], "seed": -1}, "--seed must be at least 0, not -1"),
        ({"text": ["rain"], "guidance": float("nan")}, "--guidance must be a finite number"),
        ({"text": ["rain"], "guidance": float("inf")}, "--guidance must be a finite number"),
        ({"text": ["rain"], "seconds": float("nan")}, "--seconds is nan"),
        ({"text": ["rain"], "seconds": float("inf")}, "--seconds is inf"),
        ({"text": ["rain"], "seconds": 600.5}, r"--seconds is 600\.5: it must be above 0 and at most 600"),
        ({"text": ["rain"], "seconds": 1e-9}, "no sample"),
        ({"audio": Path("a.wav"), "seconds": 2.0, "manner": Manner(fill=("10-20",))}, "--fill begins at 10 s"),
        ({"audio": Path("a.wav"), "seconds": 2.0, "manner": Manner(fill=("2-3",))}, "--fill begins at 2 s"),
        ({"text": ["rain"], "manner": Manner(guide=("smell=3",))}, "smell=3"),
        ({"text": ["rain"], "manner": Manner(prompts=Path("a.csv"))}, "--prompts names all prompts"),
        ({"manner": Manner(prompts=Path("a.csv"), transcript=("one",))}, "--prompts names all prompts"),
        ({"text": ["a", "b"], "manner": Manner(transcript=("1", "2", "3"))}, "2 --text and 3 --transcript"),
        ({"text": ["rain"], "manner": Manner(transcript=("one",))}, "audiox knows no --transcript"),
    ],
)
def test_calls_that_make_no_sense_are_refused(run: Path, given: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=said):
        generate(run, out=tmp_path, **{**QUICK, **given})


@pytest.mark.parametrize("given", [{"fill": ("3-2",)}, {"fill": ("x",)}])
def test_spans_that_are_none_are_refused(given: dict) -> None:
    with pytest.raises(ArgumentError, match="is not a span"):
        Manner(**given).gaps()


@pytest.mark.parametrize("rescale", [float("nan"), float("inf"), -0.1, 1.1])
def test_rescaling_out_of_range_is_refused(rescale: float) -> None:
    with pytest.raises(ArgumentError, match="--rescale goes from 0 to 1"):
        Manner(rescale=rescale)


def test_a_sound_that_is_not_finite_is_not_written(run: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(run / "model", tmp_path / "broken")
    weights = load_file(broken / "network.safetensors")
    weights["transformer.leave.bias"].fill_(np.nan)
    save_file(weights, broken / "network.safetensors")
    with pytest.raises(ArgumentError, match="a sound came out that is not finite"):
        generate(broken, text=["rain"], out=tmp_path / "out", **QUICK)
    assert not (tmp_path / "out").exists()


def test_a_network_that_reads_no_sounds_is_not_loaded_for_them(run: Path, media: Path, tmp_path: Path) -> None:
    deaf = shutil.copytree(run / "model", tmp_path / "deaf")
    config = json.loads((deaf / "config.json").read_text())
    config["network"]["adapters"]["audio"] = False
    (deaf / "config.json").write_text(json.dumps(config))
    (deaf / "network.safetensors").write_bytes(b"never read as weights")
    for given in ({"audio": media / "bell.wav"}, {"text": ["rain"], "manner": Manner(music=media / "bell.wav")}):
        with pytest.raises(ArgumentError, match="trained without prompts of sound"):
            generate(deaf, out=tmp_path, **given, **QUICK)
    (deaf / "config.json").write_text('{"format": "audiox 2"}')
    with pytest.raises(ArgumentError, match=r"config\.json is damaged.* has no 'frame_encoder'"):
        generate(deaf, out=tmp_path, audio=media / "bell.wav", **QUICK)


def test_a_file_is_no_folder_to_write_into(run: Path, tmp_path: Path) -> None:
    (tmp_path / "sound.wav").write_bytes(b"")
    for out in (tmp_path / "sound.wav", tmp_path / "sound.wav" / "inside"):
        with pytest.raises(ArgumentError, match=r"sound\.wav is a file, name a folder"):
            generate(run, text=["rain"], out=out, **QUICK)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="holds no trained model"):
        generate(tmp_path, text=["rain"])


def test_a_full_disk_is_an_error_of_the_system_and_leaves_no_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr("pipelines.verbs.generate.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_wav(tmp_path / "a.wav", np.zeros((1, 100), np.float32), 8_000, {})
    assert not list(tmp_path.iterdir()), "all that libsndfile writes goes the same way"
