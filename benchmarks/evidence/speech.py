"""`python -m benchmarks.evidence.speech --out FOLDER [--clips N] [--seed N] [--save]`: digits of a small AudioLDM 2.

Digits are made with eSpeak NG, which has to be installed. A listener, a CLAP, a mel codec and the recipe
`audioldm2-speech-tiny` are trained on some voices; a judge is fitted on others. It is asked about sounds as
`generate --transcript` makes them, beside real digits, the same through the codec, and a run that has learned nothing;
what the vocoder is given and what it makes of it are asked about apart. Chance is one in ten. Run again, it goes on
where it stopped.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.evidence.codec_ceiling import write_wav
from benchmarks.evidence.digit_judge import STEPS, DigitJudge, mels_of, waves_of
from benchmarks.evidence.shown import Row, keep, lines_of, right_of
from benchmarks.evidence.spoken_digits import (
    CLIP_S,
    DIGITS,
    RATE_HZ,
    Utterance,
    make_dataset,
    utterances,
    write_recordings,
)
from curation.dataset import Dataset
from models.codecs.codec import load_codec
from models.codecs.mel_vae import MelVaeCodec
from models.model_folder import RUN_MODEL
from pipelines.makers.audioldm2 import AudioLdm2Maker
from pipelines.makers.maker import How, system_named
from pipelines.prompts import Prompt
from pipelines.recipes import RecipeName
from pipelines.verbs.train import train

RESULTS = Path(__file__).parents[1] / "results"
WHO = ("a man speaks", "a woman speaks")


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeechPlan:
    """What is trained and asked.

    Args:
        takes: Of each digit by each voice that is trained on.
        judge_takes: By each voice that the judge is fitted on.
        held_takes: By each voice that is held out from all.
        judge_steps: Of the judge.
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
    judge_steps: int = STEPS
    parts: Mapping[RecipeName, int]
    clips: int = 20_000
    copies: int = 2
    steps: int = 25
    guidance: float = 2.0
    seed: int = 0


PLAN = SpeechPlan(parts={"audiomae-speech-tiny": 6_400, "clap-tiny": 64, "mel-vae-tiny": 12_000})


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


@dataclass(frozen=True, slots=True)
class Heard:
    """Some sounds as the judge hears them.

    Args:
        digits: That were asked for, or are spoken.
        before_BFM: Their log-mels before the vocoder; None for real ones, which need none.
        waves_BT: The sounds themselves.
    """

    digits: list[str]
    before_BFM: Tensor | None
    waves_BT: Tensor


class _Kept(nn.Module):
    """A vocoder that keeps what it was given."""

    def __init__(self, vocoder: nn.Module) -> None:
        super().__init__()
        self.vocoder, self.mels = vocoder, [torch.zeros(0)]

    def forward(self, mel_BFM: Tensor) -> Tensor:
        self.mels = [*self.mels[1:], mel_BFM]
        return torch.as_tensor(self.vocoder(mel_BFM))


def said_by(run: Path, plan: SpeechPlan) -> Heard:
    """Every digit said by every speaker, as `generate` makes it; the sounds are left in the run's folder `said`."""
    asked = [(who, digit) for who in WHO for digit in DIGITS for _ in range(plan.copies)]
    prompts = [Prompt(text=who, transcript=digit) for who, digit in asked]
    maker = system_named("audioldm2").loaded(run)
    assert isinstance(maker, AudioLdm2Maker)
    kept = maker.model.codec.vocoder = _Kept(maker.model.codec.vocoder)
    how = How(seconds=CLIP_S, steps=plan.steps, guidance=plan.guidance)
    made = maker.make(prompts, [(plan.seed, number) for number in range(len(prompts))], how)
    (run / "said").mkdir(exist_ok=True)
    for number, ((who, digit), wave_CT) in enumerate(zip(asked, made, strict=True)):
        write_wav(run / "said" / f"{number:03d}-{who.split()[1]}-{digit}.wav", np.asarray(wave_CT), RATE_HZ)
    waves_BT = torch.from_numpy(np.stack([wave_CT[0] for wave_CT in made]))
    return Heard([digit for _, digit in asked], kept.mels[-1], waves_BT)


@torch.no_grad()
def behind(codec: Path, real: Heard) -> Heard:
    """Real sounds that went through a codec: the most that a model of its latents can reach."""
    loaded = load_codec(str(codec))
    if not isinstance(loaded, MelVaeCodec):
        raise TypeError(f"{codec} is a {type(loaded).__name__}, no codec of mel spectrograms")
    latents_BFD = loaded.encode(real.waves_BT[:, None])
    return Heard(real.digits, loaded.spectrogram(latents_BFD), loaded.decode(latents_BFD)[:, 0])


def recorded(folder: Path, said: Sequence[Utterance]) -> Heard:
    """Real digits."""
    return Heard([one.digit for one in said], None, waves_of(write_recordings(folder, said)))


def speech_table(plan: SpeechPlan, folder: Path) -> list[Row]:
    """How many sounds say the digit that was asked for, before the vocoder and behind it."""
    fitted = utterances("judge", plan.judge_takes, plan.seed)
    judge = DigitJudge.fit(
        write_recordings(folder / "judge", fitted),
        [one.digit for one in fitted],
        seed=plan.seed,
        steps=plan.judge_steps,
    )
    dataset, runs = trained(plan, folder)
    codec = dataset.folder("runs") / "mel-vae-tiny"
    known = recorded(folder / "recordings", utterances("train", plan.takes, plan.seed)[:: plan.takes])
    held = recorded(folder / "held", utterances("held", plan.held_takes, plan.seed))
    heard = {f"generated, {name}": said_by(run, plan) for name, run in runs.items()} | {
        "real, voices that are trained on": known,
        "the same through the codec": behind(codec, known),
        "real, voices that are held out": held,
        "those through the codec": behind(codec, held),
    }
    return [_row(name, judge, one) for name, one in heard.items()]


def _row(name: str, judge: DigitJudge, heard: Heard) -> Row:
    of = len(heard.digits)
    before = None if heard.before_BFM is None else right_of(judge.right(heard.before_BFM, heard.digits), of)
    right = right_of(judge.right(mels_of(heard.waves_BT), heard.digits), of)
    return {"digits": name, "right before the vocoder": before, "right": right, "by chance": round(of / 10, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for recordings, runs and sounds")
    parser.add_argument("--clips", type=int, default=PLAN.clips, help=f"clips the model sees ({PLAN.clips})")
    parser.add_argument("--seed", type=int, default=PLAN.seed, help=f"of everything ({PLAN.seed})")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/evidence-speech.json")
    given = parser.parse_args()
    plan = replace(PLAN, clips=given.clips, seed=given.seed)
    rows = speech_table(plan, given.out.resolve())
    print("\n".join(lines_of(rows)), flush=True)
    if given.save:
        keep(RESULTS / "evidence-speech.json", {"speech": rows}, plan=asdict(plan))
    return 0


if __name__ == "__main__":
    sys.exit(main())
