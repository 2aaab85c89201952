"""Where a model computes and how its weights are kept; what is missing is named before anything is loaded."""

import importlib.util
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import pytest

from captioning.in_process.loading import Placement, end_tokens
from curation.errors import ArgumentError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of libraries that are found, whatever is really there."""
    there: set[str] = set()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: ModuleSpec(name, None) if name in there else None)
    return there


def test_a_library_that_is_missing_is_named_with_the_line_that_installs_it(installed: set[str]) -> None:
    with pytest.raises(ArgumentError, match=r"--quantize 4bit needs bitsandbytes.*pip install accelerate bitsandbytes"):
        Placement(device="cuda", dtype="bfloat16", quantize="4bit")
    installed.add("bitsandbytes")
    with pytest.raises(ArgumentError, match=r"needs accelerate.*pip install accelerate$"):
        Placement(device="cuda", dtype="bfloat16", quantize="8bit")
    with pytest.raises(ArgumentError, match=r"pip install accelerate$"):
        Placement(device="cuda", dtype="bfloat16", device_map="auto")


def test_what_is_none_of_the_choices_is_refused() -> None:
    with pytest.raises(ArgumentError, match="--quantize is 8bit or 4bit, not '3bit'"):
        Placement(device="cpu", dtype="float32", quantize="3bit")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="--device-map is auto, not 'balanced'"):
        Placement(device="cpu", dtype="float32", device_map="balanced")  # type: ignore[arg-type]


def test_a_quantised_model_is_put_onto_its_device_while_it_is_loaded(
    installed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed.update(["bitsandbytes", "accelerate"])
    monkeypatch.setattr("transformers.BitsAndBytesConfig", lambda **settings: settings)
    eight = Placement(device="cuda", dtype="bfloat16", quantize="8bit").options()
    assert (eight["quantization_config"], eight["device_map"]) == ({"load_in_8bit": True}, {"": "cuda"})
    four = Placement(device="cuda", dtype="bfloat16", quantize="4bit", device_map="auto").options()
    assert four["quantization_config"]["load_in_4bit"] and four["device_map"] == "auto"
    assert set(Placement(device="cuda", dtype="bfloat16").options()) == {"dtype"}


@pytest.mark.parametrize(("own", "ends"), [(None, [2]), (7, [2, 7]), ([2, 0], [0, 2])])
def test_an_answer_ends_with_the_models_tokens_and_with_the_turn(own: int | list[int] | None, ends: list[int]) -> None:
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=own))
    assert end_tokens(model, SimpleNamespace(eos_token_id=2)) == ends
