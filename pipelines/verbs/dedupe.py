"""`foundsound dedupe`: which clips have the same sound, and which copy is best."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from curation.dataset import Dataset
from curation.duplicates.chromaprint import Print
from curation.duplicates.found import Found, read_groups
from curation.duplicates.matching import PrintRule
from curation.duplicates.search import Search, find_duplicates
from curation.errors import ArgumentError
from curation.lock import writer_lock
from curation.names import plain_name
from pipelines.runner import Job, run

EXAMPLES = 5
"""Groups that are shown."""


@dataclass(frozen=True, slots=True)
class DedupeResult:
    """The groups that were found, and the first members of a few, the best copy first."""

    found: Found
    examples: list[list[dict[str, Any]]]

    def as_dict(self) -> dict[str, Any]:
        """The content of the groups' JSON file, their name, and the examples."""
        return {"name": self.found.name, **self.found.as_dict(), "examples": self.examples}

    def __str__(self) -> str:
        counts = self.found.counts
        layers = ", ".join(f"{count:,} by {layer}" for layer, count in sorted(counts["by_layer"].items()))
        more = [
            f"{counts[key]:,} different sounds have no {what}"
            for key, what in (("without_print", "fingerprint"), ("without_vector", "vector"))
            if counts.get(key)
        ]
        head = (
            f"duplicates {self.found.name}: {counts['clips']:,} of {self.found.covered['clips']:,} clips are in "
            f"{counts['groups']:,} groups" + (f" ({layers})" if layers else "")
        )
        shown = [
            "\n".join(
                f"  {'kept' if row['rank'] == 0 else 'copy'} {row['clip_id']}  {row['layer']:<8} "
                f"{row['distance']:.3f} from {row['like_id']}"
                for row in group
            )
            for group in self.examples
        ]
        return "\n".join([head, *more, *shown, str(self.found.path)])


def dedupe(
    dataset: Path,
    /,
    *,
    name: str = "duplicates",
    layers: Annotated[str, Parameter(name="--layers")] = "samples,print",
    embedder: str | None = None,
    cosine: float | None = None,
    error: float | None = None,
    workers: int | None = None,
    address: str | None = None,
) -> DedupeResult:
    """Find clips with the same sound: equal samples, the same recording, and near-duplicates; `select` refuses them.

    Args:
        dataset: Folder of the dataset.
        name: Name of the groups, as given to `select --duplicates`.
        layers: Of samples, print and vectors, separated by commas. `print` takes the fingerprints that are missing
            first.
        embedder: STAGE:LABEL of the vectors for the layer vectors, as embed:clap or tag:mn04.
        cosine: Least cosine of near-duplicates, which differs from embedder to embedder.
        error: Largest share of differing bits of one recording's fingerprints.
        workers: Processes for fingerprints; 0 works in this process, without Ray.
        address: Address of a Ray cluster; Ray is started on this machine when not given.
    """
    opened = Dataset(dataset)
    try:
        prints = PrintRule() if error is None else PrintRule(max_error=error)
    except ValueError as wrong:
        raise ArgumentError(f"--error: {wrong}") from wrong
    chosen = [part.strip() for part in layers.split(",") if part.strip()]
    search = Search(layers=chosen, prints=prints, embedder=embedder, min_cosine=cosine)
    if "print" in chosen:
        stage = Print(media=opened.media)
        run(
            opened,
            Job(stage=stage, queue=lambda: opened.pending(stage), batch_rows=16, workers=workers, address=address),
        )
    lock = opened.folder("locks") / f"duplicates-{plain_name(name, 'set of duplicates')}.lock"
    with writer_lock(lock, f"duplicates {name!r} of {opened.path}"):
        return DedupeResult(find_duplicates(opened, name, search), _examples(opened, name))


def _examples(dataset: Dataset, name: str) -> list[list[dict[str, Any]]]:
    """The first groups of two clips or more, three of each."""
    groups: dict[str, list[dict[str, Any]]] = {}
    rows = read_groups(dataset, name).slice(0, 1000).to_pylist()
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    return [rows[:3] for rows in groups.values() if len(rows) > 1][:EXAMPLES]
