"""`foundsound evaluate pictures`: whether pictures made from sounds show what was heard: AIC, AIS, IIS and FID."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter
from PIL import Image

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.keys import short_hash
from curation.shards.reader import Shards
from curation.tables import write_bytes
from pipelines.evaluations.made_pictures import AT_ONCE, Picture, Shown, make_some, sound_of, write_picture
from pipelines.evaluations.picture_scores import Judged, Table, score
from pipelines.makers.maker import How, System, name_of, system_named
from pipelines.progress import Progress
from pipelines.recipes.data import open_shards
from pipelines.recipes.sounded_pictures import label_of, with_pictures
from pipelines.wiring.picture_judges import PictureJudge, load_judge

FEWEST = 4

PROTOCOL = (
    "AIC: share of pictures whose class, as the judge sees it, is their sound's label; AIS, IIS: mean share of the "
    "other sounds, of the other true pictures, that are less like a picture than its own, by cosine (chance 50 %); "
    "FID: Fréchet distance of the judge's own vectors, commonly called so of Inception's alone; made for other sounds: "
    "the same pictures against sounds in a drawn order; true, another moment: real pictures of the same clips"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PicturesJudged:
    """Made pictures beside true ones.

    Args:
        made: The run.
        real: The real set, in words.
        making: How they were made.
        tables: A table a judge.
        folder: Where the pictures lie.
        report: Where all of this was written.
    """

    made: Path
    real: str
    making: dict[str, Any]
    tables: Sequence[Table]
    folder: Path
    report: Path

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "made": str(self.made),
            "real": self.real,
            "making": self.making,
            "tables": [table.as_dict() for table in self.tables],
            "protocol": PROTOCOL,
            "folder": str(self.folder),
            "report": str(self.report),
        }

    def __str__(self) -> str:
        how = ", ".join(f"{name} {value}" for name, value in self.making.items() if name != "weights_sha256")
        lines = [f"{self.made}: {how}", f"real: {self.real}", ""]
        for table in self.tables:
            lines += [str(table), ""]
        return "\n".join([*lines, f"protocol: {PROTOCOL}", f"written to {self.report}"])


def pictures(
    made: Path,
    /,
    *,
    real: str,
    judge: Annotated[list[str], Parameter(name="--judge")],
    hears: str | None = None,
    clips: int | None = None,
    seconds: float | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> PicturesJudged:
    """How well pictures that a run of AudioToken makes from sounds show what was heard.

    Args:
        made: Folder of the run.
        real: Held-out clips with labels and pictures: DATASET@GENERATION.
        judge: What judges: clip:NAME (AIC, IIS, and a Fréchet distance), inception:FILE (FID as it is published), or
            own:FOLDER, a judge trained on the same classes; may be given several times.
        hears: What hears for CLIP's AIS: wav2clip:FILE, which goes with clip:openai/clip-vit-base-patch32.
        clips: Pictures are made for so many clips, drawn by the seed; all when not given.
        seconds: How much of a clip is heard, s.
        steps: Steps of the solver; 50 when not given.
        guidance: How strongly the sound is followed; 7.5 when not given.
        seed: Of everything drawn.
        out: Where pictures and the report go; MADE/evaluation when not given.
    """
    name = name_of(made)
    system = system_named(name)
    if system.makes != "picture":
        raise ArgumentError(f"{made} is a run of {name}, which makes no pictures; see `foundsound evaluate sounds`")
    path, _, generation = real.partition("@")
    if not generation:
        raise ArgumentError(f"--real {real!r} names no generation: give DATASET@GENERATION, as vgg@test")
    shards = open_shards(Dataset(Path(path)), generation)
    numbers = _chosen(Dataset(Path(path)), shards, clips, seed)
    how = system.usual.but(seconds=seconds, steps=steps, guidance=guidance, manner=system.usual.manner)
    making: dict[str, Any] = {"seconds": how.seconds, "steps": how.steps, "guidance": how.guidance, "seed": seed}
    making["weights_sha256"] = system.weights_sha256(made)
    folder = (out or made / "evaluation").resolve()
    inside = folder / f"pictures-{short_hash(making, 8)}"
    judges = [load_judge(one, hears=hears if one.startswith("clip:") else None) for one in dict.fromkeys(judge)]
    _make(system, made, shards, numbers, how, seed, inside)
    tables = [_table(one, shards, numbers, how.seconds, inside) for one in judges]
    asked = [making, real, [table.identity for table in tables], numbers]
    judged = PicturesJudged(
        made=made,
        real=f"{path}, generation {generation}, {len(numbers)} clips with a label and a picture",
        making=making,
        tables=tables,
        folder=inside,
        report=folder / f"pictures-{short_hash(asked, 8)}.json",
    )
    write_bytes(judged.report, json.dumps(judged.as_dict(), indent=1, ensure_ascii=False).encode())
    return judged


def _chosen(dataset: Dataset, shards: Shards, count: int | None, seed: int) -> list[int]:
    """The clips that pictures are made for.

    Raises:
        ArgumentError: Too few have a label and a picture.
    """
    usable = [clip for clip in with_pictures(dataset, shards) if label_of(shards, clip)]
    wanted = len(usable) if count is None else count
    if not FEWEST <= wanted <= len(usable):
        raise ArgumentError(f"{len(usable)} clips have a label and a picture; --clips must be {FEWEST} to that many")
    drawn = np.random.default_rng([seed, 1]).permutation(len(usable))[:wanted]
    return sorted(usable[number] for number in drawn.tolist())


def _make(system: System, run: Path, shards: Shards, numbers: Sequence[int], how: How, seed: int, folder: Path) -> None:
    """Make a picture of each sound that has none yet."""
    missing = [number for number in numbers if not _file(folder, shards.key(number)).is_file()]
    if not missing:
        return
    maker = system.loaded(run)
    with Progress("generate", total=len(missing), unit="pictures") as progress:
        for first in range(0, len(missing), AT_ONCE):
            part = missing[first : first + AT_ONCE]
            for number, picture_HW3 in zip(part, make_some(maker, shards, part, how, seed), strict=True):
                write_picture(_file(folder, shards.key(number)), picture_HW3)
            progress.advance(len(part))


def _file(folder: Path, clip_id: str) -> Path:
    return folder / f"{clip_id}.png"


def _table(judge: PictureJudge, shards: Shards, numbers: Sequence[int], seconds: float, folder: Path) -> Table:
    """What one judge says."""
    sounds, true, again = [], [], []
    real: list[Picture] = []
    with Progress(judge.name.partition(":")[0], total=len(numbers), unit="clips") as progress:
        for number in numbers:
            sounds.append(sound_of(shards, number, judge.sample_rate_hz, seconds))
            shown = Shown.of(shards, number, seconds)
            true.append(shown.true)
            again.append(shown.again)
            real.extend(shown.all)
            progress.advance()
        judged = Judged(
            labels=[label_of(shards, number) for number in numbers],
            sounds=sounds,
            made=[np.asarray(Image.open(_file(folder, shards.key(number))).convert("RGB")) for number in numbers],
            true=true,
            again=again,
            real=real,
        )
        try:
            return score(judge, judged)
        except ValueError as error:
            raise ArgumentError(f"--judge {judge.name}: {error}") from error
