"""AudioToken as a maker: sounds of files, seeds of pairs, and what it refuses before anything is loaded."""

from pathlib import Path

import ffmpeg
import numpy as np
import pytest
import soundfile
from imageio_ffmpeg import get_ffmpeg_exe

from curation.errors import ArgumentError
from models.audiotoken import AudioToken
from models.audiotoken.generate import FrozenSources
from pipelines.makers.audiotoken import torch_seed
from pipelines.makers.maker import How, name_of, system_named
from pipelines.prompts import Prompt
from tests.models.audiotoken.tiny_audiotoken import embedder, save_listener, save_pictures


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audiotoken")
    sources = FrozenSources(
        pictures=str(save_pictures(folder / "pictures")), listener=str(save_listener(folder / "beats"))
    )
    model, listener = sources.load()
    AudioToken(embedder(), pictures=model, listener=listener).save_pretrained(folder / "run" / "model", sources)
    return folder / "run"


def sound(folder: Path, name: str, samples: int, rate_hz: int = 16_000) -> Path:
    wave = 0.1 * np.random.default_rng(len(name)).standard_normal(samples)
    soundfile.write(folder / name, wave, rate_hz)
    return folder / name


def test_a_run_is_known_by_its_config_and_makes_pictures_alone_as_together(run: Path, tmp_path: Path) -> None:
    assert name_of(run) == "audiotoken"
    system = system_named("audiotoken")
    assert system.makes == "picture" and (system.usual.steps, system.usual.guidance) == (50, 7.5)
    maker = system.loaded(run)
    prompts = [Prompt(audio=sound(tmp_path, "a.wav", 8_000)), Prompt(audio=sound(tmp_path, "bb.wav", 30_000, 48_000))]
    how = How(seconds=1.0, steps=2, guidance=3.0)
    together = maker.make(prompts, [(0, 0), (0, 1)], how)
    assert [(one.shape, one.dtype) for one in together] == [((16, 16, 3), np.dtype(np.uint8))] * 2
    (alone,) = maker.make(prompts[1:], [(0, 1)], how)
    assert np.abs(alone.astype(int) - together[1].astype(int)).max() <= 1


def test_only_the_first_seconds_are_heard(run: Path, tmp_path: Path) -> None:
    maker = system_named("audiotoken").loaded(run)
    wave = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    soundfile.write(tmp_path / "long.wav", wave, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", wave[:8_000], 16_000, subtype="FLOAT")
    how = How(seconds=0.5, steps=2, guidance=3.0)
    long, short = (maker.make([Prompt(audio=tmp_path / f"{name}.wav")], [(0, 0)], how)[0] for name in ("long", "short"))
    assert np.array_equal(long, short)


def test_the_sound_of_a_video_is_heard(run: Path, tmp_path: Path) -> None:
    maker = system_named("audiotoken").loaded(run)
    spoken, how = sound(tmp_path, "a.wav", 16_000), How(seconds=1.0, steps=2, guidance=3.0)
    ffmpeg.output(ffmpeg.input(str(spoken)), str(tmp_path / "a.mkv"), acodec="flac").run(get_ffmpeg_exe(), quiet=True)
    of_sound, of_video = (maker.make([Prompt(audio=tmp_path / f"a.{end}")], [(0, 0)], how)[0] for end in ("wav", "mkv"))
    assert np.array_equal(of_sound, of_video)


def test_what_it_cannot_hear_is_said(run: Path, tmp_path: Path) -> None:
    system = system_named("audiotoken")
    (tmp_path / "no.wav").write_bytes(b"no sound")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    maker = system.loaded(run)
    for name, why in (("no", "cannot be used"), ("empty", "cannot be used"), ("nan", "samples that are not finite")):
        with pytest.raises(ArgumentError, match=rf"{name}\.wav .*{why}"):
            maker.make([Prompt(audio=tmp_path / f"{name}.wav")], [(0, 0)], How(seconds=1.0, steps=1, guidance=1.0))
    with pytest.raises(ArgumentError, match="takes no --text"):
        system.require("audiotoken", [Prompt(text="a dog")], system.usual.manner)
    assert system.check is not None
    with pytest.raises(ArgumentError, match="give --audio"):
        system.check(run, [Prompt(text="a dog")], system.usual.manner)


def test_pairs_of_seeds_are_seeds_of_their_own() -> None:
    assert torch_seed((5, 0)) == 5 and torch_seed((2**63 - 1, 0)) == 2**63 - 1
    with pytest.raises(ArgumentError, match="give one below 2"):
        torch_seed((2**63, 0))
    seeds = {torch_seed((first, number)) for first in range(20) for number in range(20)}
    assert len(seeds) == 400 and all(0 <= seed < 2**63 for seed in seeds)
