"""`foundsound evaluate sounds`: how close generated sounds are to real ones, beside silence, noise and real sounds."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
from cyclopts import Parameter

from curation.dataset import Dataset
from curation.errors import ArgumentError
from curation.keys import short_hash
from curation.tables import write_bytes
from pipelines.evaluations.heard import HeardStore
from pipelines.evaluations.made_sounds import (
    Making,
    PromptKind,
    holds_model,
    make_sounds,
    sound_system,
)
from pipelines.evaluations.sound_scores import Sets, Table, score
from pipelines.evaluations.sound_sets import RealClip, Sound, made_set, noise_for, real_set, silence_for
from pipelines.makers.maker import trained_seconds
from pipelines.makers.manner import Manner
from pipelines.progress import Progress
from pipelines.wiring.listeners import RESAMPLER, listeners_at_hand, load_listener

BASELINE_SOUNDS = 500
"""Sounds of the rows of silence and noise, which hardly differ among themselves. Source: ours."""

FEWEST = 4
"""Real sounds for two halves with a covariance, and generated ones for two parts of an inception score."""

PROTOCOL = (
    "FD: Fréchet distance in float64, to all real sounds; FD-inf: extrapolated to infinitely many sounds, with the "
    "95 % interval over draws; KL: from the real clip to the sound made for it, nats, of softmax of the logits and of "
    "the tagger's own sigmoid (audioldm_eval's two, with its 1e-6); IS: softmax, mean over up to 10 parts; CLAP: mean "
    "cosine to the caption; real, two halves: one half against the other, KL between unrelated clips; noise: white, "
    "-20 dBFS"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundsJudged:
    """Generated sounds beside real ones.

    Args:
        made: Run or folder of the generated sounds.
        real: The real set, in words.
        clips: Clips of the real set.
        generated: Sounds that were generated.
        making: How they were made; empty for a folder of sounds.
        tables: A table a listener.
        seconds: Longest time of a real sound that was heard, s; None: whole.
        seed: Of the choice of clips, halves and draws.
        report: Where all of this was written.
    """

    made: Path
    real: str
    clips: int
    generated: int
    making: dict[str, Any]
    tables: Sequence[Table]
    seconds: float | None
    seed: int
    report: Path

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "made": str(self.made),
            "real": self.real,
            "clips": self.clips,
            "generated": self.generated,
            "making": self.making,
            "seconds": self.seconds,
            "seed": self.seed,
            "tables": [table.as_dict() for table in self.tables],
            "protocol": PROTOCOL,
            "report": str(self.report),
        }

    def __str__(self) -> str:
        how = ", ".join(f"{name} {value}" for name, value in self.making.items())
        cut = "" if self.seconds is None else f", of each the first {self.seconds:g} s"
        head = f"{self.made}: {self.generated:,} sounds{f' ({how})' if how else ''}"
        lines = [head, f"real: {self.real}, {self.clips:,} clips{cut}; seed {self.seed}", ""]
        for table in self.tables:
            lines += [str(table), ""]
        return "\n".join([*lines, f"protocol: {PROTOCOL}", f"written to {self.report}"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Otherwise:
    """How the sounds of a run are made, where not as its system usually does.

    Args:
        steps: Steps of the solver; AudioX usually has 25.
        guidance: How strongly the prompt is followed; 1 is as learned. AudioX usually has 3.
        index: Folder of the search index that a run of Re-AudioLDM retrieves from.
        neighbours: How many it retrieves; as many as it was trained with when not given.
    """

    steps: int | None = None
    guidance: float | None = None
    index: Path | None = None
    neighbours: int | None = None

    def making(self, run: Path, prompt: PromptKind, *, seconds: float | None, seed: int) -> Making:
        """How the sounds of a run are made, of the length that it was trained on where none is given."""
        manner = Manner(index=self.index, neighbours=self.neighbours)
        length_s = _length_of(run) if seconds is None else seconds
        usual = sound_system(run)[1].usual_of(run)
        how = usual.but(seconds=length_s, steps=self.steps, guidance=self.guidance, manner=manner)
        return Making(
            prompt=prompt, seconds=how.seconds, steps=how.steps, guidance=how.guidance, seed=seed, manner=manner
        )


AS_USUAL = Otherwise()


def sounds(
    made: Path,
    /,
    *,
    real: str,
    split: str = "test",
    embedder: Annotated[list[str] | None, Parameter(name="--embedder")] = None,
    clips: int | None = None,
    prompt: PromptKind = "text",
    seconds: float | None = None,
    seed: int = 0,
    otherwise: Annotated[Otherwise, Parameter(name="*")] = AS_USUAL,
    listed: Annotated[Path | None, Parameter(name="--list")] = None,
    out: Path | None = None,
) -> SoundsJudged:
    """How close generated sounds are to real ones: FD, FD-infinity, KL, IS and CLAP score; beside silence, noise, real.

    Sounds that are there are not made again, and none is heard twice by the same network.

    Args:
        made: Folder of a run, which then makes a sound for each clip; or a folder of sounds with sounds.jsonl, .json or
            .csv that says in `file` and `clip_id` which clip each is for.
        real: The real sounds: DATASET@NAME, a generation or selection of it, or DATASET for its clips of a split.
        split: The split, where `real` names only a dataset.
        embedder: What judges, KIND:WEIGHTS with a kind of clap, efficientat, ast, vggish or panns; may be given several
            times. Those that are at hand when not given.
        clips: Sounds are made for so many clips, drawn by the seed; all when not given.
        prompt: What of a clip they are made from: its caption, its picture, both, or what is said in it (a model of
            speech).
        seconds: Length of the sounds, s; that of the run's training when not given. Real ones are heard as far.
        seed: Of everything drawn.
        otherwise: What is done otherwise than usual.
        listed: The list of a folder of sounds, where it has another name.
        out: Where features, sounds and the report go; MADE/evaluation when not given.
    """
    if not made.is_dir():
        raise ArgumentError(f"there is no folder {made}; give that of a run, or one of sounds")
    found = real_set(real, split=split, seed=seed)
    names = _judges(found.dataset, embedder)
    folder = (out or made / "evaluation").resolve()
    making = otherwise.making(made, prompt, seconds=seconds, seed=seed) if holds_model(made) else None
    seconds = seconds if making is None else making.seconds
    for name in () if making is None else names:
        load_listener(name)  # and let go: what cannot judge is told before sounds are made, not hours after
    generated = _generated(made, found.clips, making, count=clips, listed=listed, folder=folder)
    return _written(
        folder,
        made=made,
        real=f"{found.dataset.path}, {found.of}",
        clips=len(found.clips),
        generated=len(generated),
        making={} if making is None else making.as_dict(),
        tables=_tables(names, folder / "features", sets_of(found.clips, generated, seconds=seconds, seed=seed)),
        seconds=seconds,
        seed=seed,
    )


def _written(folder: Path, **told: Any) -> SoundsJudged:
    """The result, which is kept as a file named by what was asked for."""
    asked = {name: str(told[name]) for name in ("made", "real", "generated", "making", "seconds", "seed")}
    weights = [table.weights_sha256 for table in told["tables"]]
    judged = SoundsJudged(report=folder / f"report-{short_hash([asked, weights], 8)}.json", **told)
    write_bytes(judged.report, json.dumps(judged.as_dict(), indent=1, ensure_ascii=False).encode())
    return judged


def _judges(dataset: Dataset, asked: Sequence[str] | None) -> list[str]:
    """The networks that judge, each once.

    Raises:
        ArgumentError: None is given, and none is at hand.
    """
    names = list(dict.fromkeys(asked or listeners_at_hand(dataset)))
    if not names:
        raise ArgumentError(
            "no network that judges is at hand; give --embedder KIND:WEIGHTS, as clap:laion/clap-htsat-unfused or "
            "efficientat:mn04 (4 MB, fetched and checked)"
        )
    return names


def _generated(
    made: Path,
    clips: Sequence[RealClip],
    making: Making | None,
    *,
    count: int | None,
    listed: Path | None,
    folder: Path,
) -> list[Sound]:
    """The sounds of a folder; of a run, which has a `making`, those that it then makes."""
    if making is not None:
        return made_set(make_sounds(made, _chosen(clips, making, count), making, folder), None, clips)
    if count is not None:
        raise ArgumentError("--clips is for a run; of a folder all sounds of its list are judged")
    return made_set(made, listed, clips)


def _length_of(run: Path) -> float:
    """Length of the sounds that a run was trained on, s.

    Raises:
        ArgumentError: Its folder does not say.
    """
    seconds = trained_seconds(run)
    if seconds is None:
        raise ArgumentError(f"{run} does not say how long its sounds were; give --seconds")
    return seconds


def _chosen(clips: Sequence[RealClip], making: Making, count: int | None) -> list[RealClip]:
    """The clips that sounds are made for, in the order of their ids.

    Raises:
        ArgumentError: Too few have what is asked for.
    """
    usable = [clip for clip in clips if making.can_use(clip)]
    wanted = len(usable) if count is None else count
    if not FEWEST <= wanted <= len(usable):
        raise ArgumentError(
            f"{len(usable)} of {len(clips)} real clips have what --prompt {making.prompt} needs; --clips must be "
            f"{FEWEST} to that many, not {wanted}"
        )
    drawn = np.random.default_rng([making.seed, 1]).permutation(len(usable))[:wanted]
    return [usable[number] for number in sorted(drawn.tolist())]


def sets_of(clips: Sequence[RealClip], generated: Sequence[Sound], *, seconds: float | None, seed: int) -> Sets:
    """What is compared: the real set, the pairs, and as much silence and noise.

    Raises:
        ArgumentError: There are too few sounds.
    """
    if len(clips) < FEWEST or len(generated) < FEWEST:
        raise ArgumentError(f"{len(clips)} real and {len(generated)} generated sounds: at least {FEWEST} are compared")
    by_id = {clip.clip_id: clip for clip in clips}
    whole = {clip_id: clip.sound(seconds) for clip_id, clip in by_id.items()}
    pairs = [(sound, whole[sound.clip_id]) for sound in generated]
    silence, noise = [], []
    for number, (_, sound) in enumerate(pairs[:BASELINE_SOUNDS]):
        length_s = _length_s(by_id[sound.clip_id], seconds)
        silence.append((silence_for(sound, length_s), sound))
        noise.append((noise_for(sound, length_s, seed, number), sound))
    return Sets(real=list(whole.values()), pairs=pairs, baselines={"silence": silence, "noise": noise}, seed=seed)


def _length_s(clip: RealClip, seconds: float | None) -> float:
    """How long a clip is heard, s."""
    whole_s = float(soundfile.info(io.BytesIO(clip.open_sound())).duration)
    return whole_s if seconds is None else min(whole_s, seconds)


def _tables(names: Sequence[str], folder: Path, sets: Sets) -> list[Table]:
    """What each listener says, one after the other, so that one network at a time is in memory."""
    tables = []
    for name in names:
        store = HeardStore(folder, load_listener(name))
        missing = store.missing(sets.all())
        with Progress(store.listener.kind, total=len(missing), unit="sounds") as progress:
            store.hear(missing, progress)
            progress.note("comparing")
            try:
                tables.append(score(store, sets, RESAMPLER))
            except ValueError as error:
                raise ArgumentError(f"--embedder {name}: {error}") from error
    return tables
