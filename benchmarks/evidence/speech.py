"""`python -m benchmarks.evidence.speech --out FOLDER [--clips N] [--save]`: digits said by a small AudioLDM 2.

Digits are made with eSpeak NG, which has to be installed. A listener, a CLAP, a mel codec and the recipe
`audioldm2-speech-tiny` are trained on some voices; a judge is fitted on others. It is asked about sounds that
`generate --transcript` made, beside real digits, the same behind the codec, and a run that has learned nothing. Chance
is one in ten. Run again, it goes on where it stopped.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.evidence.codec_ceiling import through_codec
from benchmarks.evidence.digit_judge import DigitJudge
from benchmarks.evidence.shown import Row, keep, lines_of, right_of
from benchmarks.evidence.spoken_digits import CLIP_S, DIGITS, Utterance, make_dataset, utterances, write_recordings
from curation.dataset import Dataset
from models.codecs.codec import RUN_MODEL
from pipelines.makers.manner import Manner
from pipelines.verbs.generate import generate
from pipelines.verbs.train import RecipeName, train

RESULTS = Path(__file__).parents[1] / "results"
WHO = ("a man speaks", "a woman speaks")


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeechPlan:
    """What is trained and asked.

    Args:
        takes: Of each digit by each voice that is trained on.
        judge_takes: By each voice that the judge is fitted on.
        held_takes: By each voice that is held out from all.
        parts: Clips that each frozen part sees: the listener, CLAP, the codec.
        clips: Clips that the model sees, over all phases.
        copies: Sounds of each digit and speaker that are made.
        steps: Of the solver.
        guidance: How strongly what is said is followed.
        seed: Of everything.
    """

    takes: int = 6
    judge_takes: int = 4
    held_takes: int = 3
    parts: Mapping[RecipeName, int]
    clips: int = 16_000
    copies: int = 3
    steps: int = 25
    guidance: float = 2.0
    seed: int = 0


PLAN = SpeechPlan(parts={"audiomae-speech-tiny": 3_200, "clap-tiny": 64, "mel-vae-tiny": 1_000})


def trained(plan: SpeechPlan, folder: Path) -> tuple[Dataset, dict[str, Path]]:
    """The dataset, a run, and one that was stopped after its first steps, which has learned nothing."""
    dataset = make_dataset(folder, takes=plan.takes, seed=plan.seed)
    for recipe, clips in plan.parts.items():
        if not (dataset.folder("runs") / recipe / RUN_MODEL).is_dir():
            train(recipe, data=[str(dataset.path)], clips=clips, seed=plan.seed)
    runs = {"trained": plan.clips, "after three steps": 1}
    places = {name: dataset.folder("runs") / f"speech-{clips}" for name, clips in runs.items()}
    for name, clips in runs.items():
        if not (places[name] / RUN_MODEL).is_dir():
            train("audioldm2-speech-tiny", data=[str(dataset.path)], clips=clips, seed=plan.seed, out=places[name])
    return dataset, places


def said_by(run: Path, plan: SpeechPlan) -> tuple[list[Path], list[str]]:
    """Sounds of every digit by every speaker, and the digits that were asked for."""
    asked = [(who, digit) for who in WHO for digit in DIGITS for _ in range(plan.copies)]
    listed = run / "prompts.jsonl"
    lines = [json.dumps({"text": who, "transcript": digit}) for who, digit in asked]
    listed.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    made = generate(
        run,
        seconds=CLIP_S,
        steps=plan.steps,
        guidance=plan.guidance,
        seed=plan.seed,
        manner=Manner(prompts=listed, at_once=30),
    )
    return made.files, [digit for _, digit in asked]


def speech_table(plan: SpeechPlan, folder: Path) -> list[Row]:
    """How many sounds say the digit that was asked for."""
    groups: dict[str, list[Utterance]] = {
        "judge": utterances("judge", plan.judge_takes, plan.seed),
        "held": utterances("held", plan.held_takes, plan.seed),
    }
    files = {name: write_recordings(folder / name, said) for name, said in groups.items()}
    digits = {name: [one.digit for one in said] for name, said in groups.items()}
    judge = DigitJudge.fit(files["judge"], digits["judge"], seed=plan.seed)
    dataset, runs = trained(plan, folder)
    rows: list[Row] = []

    def add(row: str, made: Sequence[Path], asked: Sequence[str]) -> None:
        rows.append({"row": row, "right": right_of(judge.right(made, asked), len(asked)), "by chance": len(asked) / 10})

    codec = dataset.folder("runs") / "mel-vae-tiny"
    known = utterances("train", plan.takes, plan.seed)[:: plan.takes]
    recorded, own = write_recordings(folder / "recordings", known), [one.digit for one in known]
    for name, run in runs.items():
        add(f"generated, {name}", *said_by(run, plan))
    add("real, voices trained on", recorded, own)
    add("the same behind the codec", through_codec(recorded, codec, folder / "behind-train", CLIP_S), own)
    add("real, voices that are held out", files["held"], digits["held"])
    behind = through_codec(files["held"], codec, folder / "behind-held", CLIP_S)
    add("the same behind the codec", behind, digits["held"])
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for recordings, runs and sounds")
    parser.add_argument("--clips", type=int, default=PLAN.clips, help=f"clips the model sees ({PLAN.clips})")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/evidence-speech.json")
    given = parser.parse_args()
    plan = replace(PLAN, clips=given.clips)
    rows = speech_table(plan, given.out.resolve())
    print("\n".join(lines_of(rows)), flush=True)
    if given.save:
        keep(RESULTS / "evidence-speech.json", {"speech": rows}, plan=asdict(plan))
    return 0


if __name__ == "__main__":
    sys.exit(main())
