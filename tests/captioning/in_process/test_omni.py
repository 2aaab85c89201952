"""The Omni models: the thinker of a whole checkpoint, the Captioner that is asked nothing, and pictures."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from captioning.captioner import Sound
from captioning.decoding import Decoding
from captioning.in_process.audio_language import AudioLanguageModel, identity_of
from captioning.in_process.families import CAPTIONER, FAMILIES, family_of
from captioning.in_process.pretrained import Pretrained
from captioning.prompt import Prompt, load_prompt
from curation.errors import ArgumentError
from tests.captioning.tiny_omni import qwen2_5_omni, qwen3_omni

ROOT = Path(__file__).resolve().parents[3]
LIBRARIES = Path(os.environ.get("FOUNDSOUND_TEST_LIBRARIES", ROOT / ".venv" / "libraries"))
DECODING = Decoding(max_new_tokens=64)
PROMPT = load_prompt("sound-v1")
HINTED = Prompt(name="hinted-v1", text="Describe it. Hint: {labels}.")


def sound(key: str, seconds: float, *labels: str) -> Sound:
    """Noise, from the key alone."""
    wave_T = 0.1 * np.random.default_rng([5, ord(key)]).standard_normal(round(16_000 * seconds))
    return Sound(key=key, wave_T=wave_T.astype(np.float32), sample_rate_hz=16_000, labels=labels)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """model_type -> a whole checkpoint, with its talker."""
    folder = tmp_path_factory.mktemp("omni")
    return {
        "qwen2_5_omni": qwen2_5_omni(folder / "Tiny-Omni"),
        "qwen3_omni_moe": qwen3_omni(folder / "Tiny-Omni-3", speaks=True),
    }


@pytest.mark.parametrize("model_type", ["qwen2_5_omni", "qwen3_omni_moe"])
def test_only_the_thinker_of_a_whole_checkpoint_is_loaded(model_type: str, folders: dict[str, Path]) -> None:
    captioner = AudioLanguageModel.from_pretrained(folders[model_type], device="cpu", decoding=DECODING)
    family = FAMILIES[model_type]
    assert captioner.identity().name == family.name and type(captioner._model).__name__ == family.model_class
    with safe_open(folders[model_type] / "model.safetensors", "pt") as file:
        names = set(file.keys())
        thinker = sum(file.get_tensor(name).numel() for name in names if name.startswith("thinker."))
        assert {name.partition(".")[0] for name in names} >= {"thinker", "talker"}
        table = file.get_tensor("thinker.model.embed_tokens.weight")
    assert sum(weight.numel() for weight in captioner._model.parameters()) == thinker
    assert torch.equal(captioner._model.get_input_embeddings().weight, table)


@pytest.mark.parametrize("model_type", ["qwen2_5_omni", "qwen3_omni_moe"])
def test_a_batch_says_what_one_by_one_says(model_type: str, folders: dict[str, Path]) -> None:
    captioner = AudioLanguageModel.from_pretrained(folders[model_type], device="cpu", decoding=DECODING)
    sounds = [sound("a", 0.7, "rain"), sound("b", 4.0, "dog", "wind"), sound("c", 33.3, "x"), sound("d", 0.1, "y")]
    together = [str(answer) for answer in captioner.caption(sounds, HINTED)]
    assert together == [str(captioner.caption([one], HINTED)[0]) for one in sounds]
    assert len(set(together)) > 1
    changed_T = np.concatenate([sounds[2].wave_T[: 31 * 16_000], np.zeros(37_000, np.float32)])
    changed = Sound(key="c", wave_T=changed_T, sample_rate_hz=16_000, labels=("x",))
    assert str(captioner.caption([changed], HINTED)[0]) != together[2], "what follows 30 s is heard"


def test_the_sound_and_the_prompt_are_asked_in_one_turn(folders: dict[str, Path]) -> None:
    captioner = AudioLanguageModel.from_pretrained(folders["qwen2_5_omni"], device="cpu", decoding=DECODING)
    asked = asked_of(captioner, sound("a", 1.0, "rain"), HINTED)
    # 1 s is 100 mel frames; two strided convolutions make 50, then 25.
    heard = "<|audio_bos|>" + 25 * "<|AUDIO|>" + "<|audio_eos|>"
    assert asked == f"<|im_start|>user\n{heard}Describe it. Hint: rain.<|im_end|>\n<|im_start|>assistant\n"


def asked_of(captioner: AudioLanguageModel, one: Sound, prompt: Prompt) -> str:
    """The tokens that a model is given."""
    seen: list[torch.Tensor] = []
    generate = captioner._model.generate

    def spy(**inputs: torch.Tensor) -> torch.Tensor:
        seen.append(inputs["input_ids"])
        return generate(**inputs)

    captioner._model.generate = spy
    captioner.caption([one], prompt)
    return str(captioner._processor.tokenizer.decode(seen[0][0]))


def test_the_captioner_is_asked_nothing_and_answers_at_length(tmp_path: Path) -> None:
    folder = qwen3_omni(tmp_path / "Tiny-Omni-30B-A3B-Captioner")
    source = Pretrained.find(folder)
    assert family_of(source.model_type(), source.name_or_path) is CAPTIONER
    assert CAPTIONER.max_new_tokens > Decoding().max_new_tokens
    captioner = AudioLanguageModel.from_pretrained(folder, device="cpu", decoding=DECODING)
    asked = asked_of(captioner, sound("a", 1.0), load_prompt("none"))
    # 100 mel frames are one block, of which Qwen3-Omni's encoder makes 13 tokens.
    heard = "<|audio_bos|>" + 13 * "<|AUDIO|>" + "<|audio_eos|>"
    assert asked == f"<|im_start|>user\n{heard}<|im_end|>\n<|im_start|>assistant\n"
    with pytest.raises(ArgumentError, match="is shown no picture"):
        identity_of(source, dtype="float32", sees=True)
    with pytest.raises(ArgumentError, match="--quantize 4bit would leave the experts"):
        identity_of(source, dtype="float32", quantize="4bit")


def test_a_thinker_saved_alone_is_the_same_model(folders: dict[str, Path], tmp_path: Path) -> None:
    whole = AudioLanguageModel.from_pretrained(folders["qwen2_5_omni"], device="cpu", decoding=DECODING)
    whole._model.generation_config.max_length = None
    whole._model.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "chat_template.json"):
        (tmp_path / name).write_bytes((folders["qwen2_5_omni"] / name).read_bytes())
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "qwen2_5_omni_thinker"
    alone = AudioLanguageModel.from_pretrained(tmp_path, device="cpu", decoding=DECODING)
    assert alone.identity().name == "qwen2.5-omni"
    assert str(alone.caption([sound("b", 2.0)], PROMPT)) == str(whole.caption([sound("b", 2.0)], PROMPT))


def test_a_picture_without_torchvision_says_what_to_install(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torchvision" else find(name))
    with pytest.raises(ArgumentError, match="pip install torchvision"):
        AudioLanguageModel.from_pretrained(folders["qwen2_5_omni"], device="cpu", sees=True)


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARIES.is_dir(), reason=f"{LIBRARIES} is not there; see the Makefile")
def test_pictures_are_shown_with_their_sounds(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("show_to_omni.py")), str(LIBRARIES), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    for name, found in json.loads(done.stdout.splitlines()[-1]).items():
        assert found["identity"]["name"] == name and found["identity"]["sees"] == "frames"
        assert found["identity"]["window_s"] == 30.0
        assert found["together"] == found["alone"]
        assert len({*found["together"], found["other_picture"], found["other_sound"]}) == 5
