"""Run by test_clap_laion.py in an environment of its own: `python laion_reference.py FOLDER AMODEL [fusion]`.

Builds a random CLAP with the classes of laion-clap 1.1.7 itself, writes it as LAION writes its checkpoints
(`FOLDER/checkpoint.pt`), reads it again by laion-clap's own loader, and stores what laion-clap makes of some sounds and
texts (`FOLDER/reference.npz`). Nothing is downloaded. The environment, which cannot be the project's (numpy below 2):

    python3 -m venv ENV
    ENV/bin/pip install --no-deps laion-clap==1.1.7 torch==2.13.0 torchaudio
    ENV/bin/pip install 'numpy<2' transformers torchlibrosa librosa ftfy braceexpand webdataset wget h5py progressbar \
        pandas pillow filelock typing_extensions sympy networkx jinja2 fsspec

torch must be the CPU build there (or CUDA's with its own torchvision). Of torchvision, which only training needs, names
without content are enough; of torchaudio only its compiled part is left out, which its log-mel does not call.
"""

import os
import sys
import types
from pathlib import Path

RATE_HZ = 48_000
TEXTS = ["a dog barks", "rain falls on a tin roof while thunder rolls far away", "music", "the same words " * 60]
ROBERTA = {"vocab_size": 400, "num_hidden_layers": 2, "max_position_embeddings": 514, "type_vocab_size": 1}


class _Nothing:
    def __init__(self, *_: object, **__: object) -> None:
        raise NotImplementedError("this part of torchvision is not there")


def stand_in(name: str, **contents: object) -> None:
    def attribute(wanted: str) -> type[_Nothing]:
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        return _Nothing

    module = types.ModuleType(name)
    module.__getattr__ = attribute  # type: ignore[method-assign]
    module.__path__ = []
    for key, value in contents.items():
        setattr(module, key, value)
    sys.modules[name] = module


def leave_out_compiled_parts() -> None:
    stand_in("torchaudio._extension", _IS_TORCHAUDIO_EXT_AVAILABLE=False, fail_if_no_align=lambda function: function)
    from transformers import RobertaModel, RobertaTokenizer  # noqa: F401  - before torchvision seems to be there

    for name in ("", ".datasets", ".transforms", ".ops", ".ops.misc"):
        stand_in(f"torchvision{name}")


def seed_cache(folder: Path) -> None:
    """A cache in which laion-clap finds a small random `roberta-base`, whose tokenizer also lies in the folder."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

    place = folder / "cache" / "hub" / "models--roberta-base"
    snapshot = place / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0")
    pieces = ByteLevelBPETokenizer(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pieces.train_from_iterator(TEXTS, vocab_size=ROBERTA["vocab_size"], min_frequency=1, special_tokens=special)
    (folder / "pieces").mkdir()
    pieces.save_model(str(folder / "pieces"))
    tokenizer = RobertaTokenizer.from_pretrained(folder / "pieces")
    assert len(tokenizer) > 260
    tokenizer.save_pretrained(snapshot)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    RobertaModel(RobertaConfig(**ROBERTA, layer_norm_eps=1e-5)).save_pretrained(snapshot)


def sounds() -> dict[str, object]:
    import numpy as np

    rng = np.random.default_rng(0)
    second = np.arange(RATE_HZ) / RATE_HZ
    made = {
        "noise": rng.uniform(-0.5, 0.5, 10 * RATE_HZ),
        "short": rng.normal(0, 0.1, round(2.345 * RATE_HZ)),
        "tone": 0.5 * np.sin(2 * np.pi * 1000 * second),
        "loud": 1.7 * np.sin(2 * np.pi * 333.3 * second) * np.linspace(0, 1, RATE_HZ),
        "silence": np.zeros(RATE_HZ),
    }
    return {name: wave.astype(np.float32) for name, wave in made.items()}


def main() -> None:
    folder, amodel, fusion = Path(sys.argv[1]), sys.argv[2], "fusion" in sys.argv[3:]
    os.environ.update(HF_HOME=str(folder / "cache"), HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
    leave_out_compiled_parts()
    seed_cache(folder)
    import laion_clap
    import numpy as np
    import torch

    torch.manual_seed(1)
    made = laion_clap.CLAP_Module(enable_fusion=fusion, amodel=amodel, device="cpu")
    with torch.no_grad():
        for name, tensor in made.model.state_dict().items():
            if name.endswith(("running_var", "bn0.weight")):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(("running_mean", "norm1.bias", "relative_position_bias_table")):
                tensor.normal_(0, 0.5)
    state = {f"module.{name}": tensor for name, tensor in made.model.state_dict().items()}
    state["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
    training = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": np.float64(1e-4)}]}
    checkpoint = {"epoch": 15, "name": "random", "state_dict": state, "optimizer": training}
    torch.save({**checkpoint, "best": np.float32(0.9)}, folder / "checkpoint.pt")
    again = laion_clap.CLAP_Module(enable_fusion=fusion, amodel=amodel, device="cpu")
    again.load_ckpt(str(folder / "checkpoint.pt"), verbose=False)
    waves = sounds()
    vectors = {f"sound_{name}": again.get_audio_embedding_from_data([wave])[0] for name, wave in waves.items()}
    vectors["texts"] = again.get_text_embedding(TEXTS)
    np.savez(folder / "reference.npz", **{f"wave_{name}": wave for name, wave in waves.items()}, **vectors)


if __name__ == "__main__":
    main()
