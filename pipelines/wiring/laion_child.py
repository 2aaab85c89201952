"""Run by the Python of an environment that has laion-clap, never imported: vectors of sounds and of texts.

    python laion_child.py WEIGHTS.safetensors HTSAT-tiny|HTSAT-base [fusion]

Standard output begins with a line of JSON, `{"version": ..., "dimension": D}`. A request on standard input is a line of
JSON, `{"texts": [...]}` or `{"sounds": [B, T]}` with B x T float32 behind it; its answer `{"shape": [B, D]}` with
B x D float32 behind it. What laion-clap prints goes to standard error.
"""

import json
import os
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Any, BinaryIO

COUNTED = "text_branch.embeddings.position_ids"
"""A buffer that published files hold and current networks compute."""


def load(weights: str, amodel: str, fusion: bool) -> Any:
    """laion-clap's own module with these weights.

    Raises:
        ValueError: The weights are of another network.
    """
    laion_clap = import_module("laion_clap")
    load_file = import_module("safetensors.torch").load_file
    module = laion_clap.CLAP_Module(enable_fusion=fusion, amodel=amodel, device=None)
    missing, unexpected = module.model.load_state_dict(load_file(weights), strict=False)
    if wrong := [name for name in (*missing, *unexpected) if not name.endswith(COUNTED)]:
        raise ValueError(f"the weights are of another network: {len(wrong)} names differ, the first is {wrong[0]}")
    return module.eval()


def answer(module: Any, asked: dict[str, Any], read: BinaryIO) -> Any:
    """The vectors of one request, (B, D) float32."""
    numpy = import_module("numpy")
    if "sounds" in asked:
        count, length = asked["sounds"]
        waves_BT = numpy.frombuffer(read.read(4 * count * length), "<f4").reshape(count, length)
        # One by one: in a batch of the package the answer would depend on the company.
        parts = [module.get_audio_embedding_from_data([wave_T.copy()], use_tensor=False) for wave_T in waves_BT]
        return numpy.concatenate(parts)
    # The package cannot embed a single text: its tokenizer drops the batch.
    parts = [module.get_text_embedding([text, text], use_tensor=False)[:1] for text in asked["texts"]]
    return numpy.concatenate(parts)


def main() -> None:
    """Answer requests until there are no more."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    weights, amodel, *more = sys.argv[1:]
    sys.argv = sys.argv[:1]  # the package parses what is left
    module = load(weights, amodel, "fusion" in more)
    hello = {
        "version": version("laion-clap"),
        "dimension": int(answer(module, {"texts": ["a"]}, sys.stdin.buffer).shape[1]),
    }
    out.write(json.dumps(hello).encode() + b"\n")
    out.flush()
    for line in sys.stdin.buffer:
        vectors_BD = answer(module, json.loads(line), sys.stdin.buffer)
        out.write(json.dumps({"shape": list(vectors_BD.shape)}).encode() + b"\n" + vectors_BD.astype("<f4").tobytes())
        out.flush()


if __name__ == "__main__":
    main()
