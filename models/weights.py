"""Where the safetensors files of a pretrained network lie and what their sha256 is.

A result names the weights that made it by that sum. No tensor is loaded here and no network known.
"""

import hashlib
import json
import re
from pathlib import Path

from transformers.utils import cached_file

READ_BYTES = 1 << 20
SHA256 = re.compile(r"[0-9a-f]{64}")


def safetensors_paths(
    name_or_path: str | Path, *, stem: str = "model", subfolder: str = "", revision: str | None = None
) -> list[Path]:
    """Finds the safetensors files of a pretrained network, whole or in shards, in a folder or in the Hub's cache.

    Args:
        name_or_path: a folder written by `save_pretrained`, or a name on the Hub.
        stem: file name without ending: `model` (transformers), `diffusion_pytorch_model` (diffusers).
        subfolder: folder below it that holds the network, empty for none.
        revision: branch, tag or commit on the Hub; only for names.

    Returns:
        The files in the order of their names, at least one.

    Raises:
        FileNotFoundError: the folder holds neither `STEM.safetensors` nor `STEM.safetensors.index.json`.
        ValueError: the index names a file outside the folder.
    """
    whole, index = f"{stem}.safetensors", f"{stem}.safetensors.index.json"
    folder = Path(name_or_path) / subfolder
    if not folder.is_dir():
        return _hub_paths(str(name_or_path), whole=whole, index=index, subfolder=subfolder, revision=revision)
    if (folder / whole).is_file():
        return [folder / whole]
    if (folder / index).is_file():
        return [folder / name for name in _shard_names(folder / index)]
    raise FileNotFoundError(
        f"{folder} holds neither {whole} nor {index}; only safetensors are read, so save the network there with "
        "save_pretrained()"
    )


def sha256_of_files(paths: list[Path]) -> str:
    """Hashes weights. Files of the Hub's cache are called for their sha256 and not read.

    Args:
        paths: the files of one network, at least one.

    Returns:
        Hex sha256 of the file; of several, the sha256 of their digests joined in the given order.
    """
    digests = [_sha256_of_file(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _hub_paths(name: str, *, whole: str, index: str, subfolder: str, revision: str | None) -> list[Path]:
    def download(filename: str, *, required: bool = True) -> Path | None:
        path = cached_file(
            name,
            filename,
            subfolder=subfolder,
            revision=revision,
            _raise_exceptions_for_missing_entries=required,
        )
        return None if path is None else Path(path)

    if (path := download(whole, required=False)) is not None:
        return [path]
    shards = [] if (path := download(index)) is None else [download(shard) for shard in _shard_names(path)]
    return [shard for shard in shards if shard is not None]


def _shard_names(index: Path) -> list[str]:
    names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    for name in names:
        if Path(name).name != name:
            raise ValueError(f"{index} names the file {name!r} outside its own folder; refused, get the weights anew")
    return names


def _sha256_of_file(path: Path) -> str:
    real = path.resolve()
    # Source: huggingface_hub's file_download.py; large files are called for their sha256, small ones for git's sum.
    if real.parent.name == "blobs" and real.parent.parent.name.startswith("models--") and SHA256.fullmatch(real.name):
        return real.name
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
