"""Systems are found by what lies in a folder, and refuse what they have no use for."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from curation.errors import ArgumentError
from curation.keys import file_sha256
from pipelines.makers.maker import SYSTEMS, How, System, name_of, system_named
from pipelines.makers.manner import GENERAL, Manner, option_of
from pipelines.prompts import Prompt


def folder(path: Path, **files: object) -> Path:
    for name, content in files.items():
        file = path / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".json").write_text(json.dumps(content))
    return path


def test_a_run_is_known_by_its_model(tmp_path: Path) -> None:
    assert name_of(folder(tmp_path / "plain", config={"settings": 1})) == "audiox"
    assert name_of(folder(tmp_path / "said", model__config={"system": SYSTEMS[-1]})) == SYSTEMS[-1]
    with pytest.raises(ArgumentError, match="'sorcery': known are audiox"):
        name_of(folder(tmp_path / "other", config={"system": "sorcery"}))


def test_a_folder_that_is_not_there_is_of_no_system(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=f"there is no folder {tmp_path / 'none'}"):
        name_of(tmp_path / "none")


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_has_its_file(name: str) -> None:
    system = system_named(name)
    assert system.makes in ("sound", "picture")
    assert system.options <= set(Manner.__slots__)  # type: ignore[attr-defined]


def nothing(run: Path) -> None:
    raise AssertionError("never loaded")


PLAIN = System(weights=("*.safetensors",), load=nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompt", "manner", "said"),
    [
        ({"text": "rain"}, {"candidates": 3}, "knows no --candidates"),
        ({"text": "rain"}, {"go_on": Path("a.wav")}, "knows no --continue"),
        ({"audio": "here"}, {}, "takes no --audio"),
        ({"text": "a man", "transcript": "one"}, {}, "takes no --transcript"),
        ({"text": "a man"}, {"transcript": ("one",)}, "knows no --transcript"),
    ],
)
def test_what_a_system_has_no_use_for_is_refused(prompt: dict, manner: dict, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    given = {name: tmp_path / "a.wav" if value == "here" else value for name, value in prompt.items()}
    with pytest.raises(ArgumentError, match=said):
        PLAIN.require("plain", [Prompt(**given)], Manner(**manner))


def test_what_concerns_every_system_is_taken_by_all() -> None:
    PLAIN.require("plain", [Prompt(text="rain")], Manner(at_once=2, wav_only=True))
    assert {"at_once", "wav_only", "prompts"} == GENERAL, "and nothing else is taken unasked"


def test_weights_are_named_by_their_content(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="holds no trained model that makes sounds or pictures"):
        PLAIN.weights_sha256(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(b"a")
    one = PLAIN.weights_sha256(tmp_path)
    assert one == file_sha256(tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"b")
    two = PLAIN.weights_sha256(tmp_path)
    (tmp_path / "b.safetensors").write_bytes(b"c")
    assert len({one, two, PLAIN.weights_sha256(tmp_path)}) == 3


def test_what_is_not_said_is_as_usual() -> None:
    usual = How(seconds=10.0, steps=200, guidance=3.5)
    how = usual.but(seconds=None, steps=4, guidance=None, manner=Manner(at_once=1))
    assert (how.seconds, how.steps, how.guidance, how.manner.at_once) == (10.0, 4, 3.5, 1)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"steps": 0}, "--steps must be at least 1, not 0"),
        ({"guidance": float("nan")}, "--guidance must be a finite number, not nan"),
        ({"seconds": float("nan")}, "--seconds is nan"),
        ({"seconds": 0.0}, r"--seconds is 0\.0"),
    ],
)
def test_numbers_out_of_range_are_refused_wherever_something_is_made(said: dict[str, float], why: str) -> None:
    with pytest.raises(ArgumentError, match=why):
        PLAIN.usual.but(**{"seconds": None, "steps": None, "guidance": None, **said}, manner=Manner())


def test_options_are_named_as_they_are_typed() -> None:
    assert option_of("go_on") == "--continue"
    assert option_of("at_once") == "--at-once"


def test_a_model_of_speech_is_known_by_its_own_file(tmp_path: Path) -> None:
    assert name_of(folder(tmp_path / "spoken", model__foundsound={"system": SYSTEMS[-1]})) == SYSTEMS[-1]


def test_a_sound_is_as_long_as_its_run_says(tmp_path: Path) -> None:
    assert PLAIN.usual_of(tmp_path) == PLAIN.usual
    trained = folder(tmp_path / "run", config={"settings": {"data": {"seconds": 2.5}}})
    assert PLAIN.usual_of(trained) == replace(PLAIN.usual, seconds=2.5)
    assert replace(PLAIN, makes="picture").usual_of(trained) == PLAIN.usual, "what it listens to is no length of sounds"
    own = System(weights=("*.safetensors",), load=nothing, seconds_of=lambda run: 1.28)  # type: ignore[arg-type]
    assert (own.usual_of(tmp_path).seconds, own.usual_of(tmp_path).steps) == (1.28, own.usual.steps)
    hearing = {"format": "audioldm2 1", "system": "audioldm2", "hearing": {"window_s": 0.64, "factor": 1}}
    assert system_named("audioldm2").usual_of(folder(tmp_path, model__foundsound=hearing)).seconds == 0.64
    with pytest.raises(ArgumentError, match="holds no trained model"):
        system_named("audioldm2").usual_of(tmp_path / "none")
