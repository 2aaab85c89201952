"""A program that loads codecs by their names from a seeded cache of the Hub: `python hub_codecs.py CACHE`.

It prints the class of each. It is a program, since the libraries read where the cache is when they are imported.
"""

import os
import sys
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": sys.argv[1]}

from models.codecs.codec import load_codec
from tests.models.codecs.tiny_mel import save_parts
from tests.models.codecs.tiny_waveform import SIZE

REVISION = "a" * 40


def snapshot(name: str) -> Path:
    """The folder of a repository's only revision, its main one."""
    repository = Path(sys.argv[1]) / "hub" / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION)
    (repository / "snapshots" / REVISION).mkdir(parents=True)
    return repository / "snapshots" / REVISION


save_parts(snapshot("some/mel"))
SIZE.build().save_pretrained(str(snapshot("some/waves")))
SIZE.build().save_pretrained(str(snapshot("some/pipeline") / "vae"))
found = [load_codec("some/mel"), load_codec("some/waves"), load_codec("some/pipeline", subfolder="vae")]
print(*(type(codec).__name__ for codec in found))
