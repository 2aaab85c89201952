"""`foundsound roots`: where media, shards, vectors and latents lie, and setting it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.storage import KINDS, Root, parse_roots


@dataclass(frozen=True, slots=True)
class RootsResult:
    """Kind of file -> where it lies."""

    roots: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Kind of file -> folder or address."""
        return dict(self.roots)

    def __str__(self) -> str:
        return "\n".join(f"{kind}: {place}" for kind, place in self.roots.items())


def roots(dataset: Path, /, *places: str) -> RootsResult:
    """Show where media, shards, vectors and latents lie, or set it while there are none.

    Args:
        dataset: Folder of the dataset.
        places: As media=s3://bucket/folder or shards=/a/shared/folder; a relative one is below the dataset.
    """
    opened = Dataset(dataset)
    asked = parse_roots(list(places))
    for kind, place in asked.items():
        now = opened.root(kind)
        if now.names() and now != Root.of(place, base=opened.path):
            raise ArgumentError(
                f"{now} holds {kind} already, and what they are named by says nothing of another place; move them to "
                f"{place}, and change roots.{kind} in {opened.path / 'dataset.json'} by hand"
            )
    if asked:
        opened.set_config(roots={**opened.config["roots"], **asked})
    return RootsResult({kind: opened.root(kind).url for kind in KINDS})
