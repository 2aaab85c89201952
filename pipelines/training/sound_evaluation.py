"""Sounds and their distance to real ones while a run goes on, with its averaged weights and fixed seeds.

    RUN/samples/clips-000012000/000-<clip_id>.wav   a sound for each of the fixed prompts
                                sounds.jsonl        which clip each is for, as `evaluate sounds` reads it
    RUN/evaluation/features/                        what listeners made of sounds, kept by content

The prompts are captions of clips that are trained on, for speech what is said in them, and the real features are those
of such clips: the numbers say how a run gets on, with the same few samples each time. How good a model is, `evaluate
sounds` says; whether words can be understood, no listener here says.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from curation.errors import ArgumentError
from curation.samples import Source
from curation.selections.where import clips_where
from models.metrics.frechet import Moments, frechet_distance
from models.metrics.similarity import paired_cosine
from models.training.checkpoint import TrainingState
from models.training.loop import Report
from models.training.world import World
from pipelines.evaluations.heard import HeardStore
from pipelines.evaluations.made_sounds import Making, make_some, write_list, write_sound
from pipelines.evaluations.sound_sets import RealClip, Sound, made_set, packed_set
from pipelines.progress import Progress
from pipelines.training.evaluation import EvaluationOptions, sample_folder
from pipelines.wiring.listeners import listeners_at_hand, load_listener

if TYPE_CHECKING:
    from torch import nn

    from pipelines.makers.maker import Maker

REAL_SOUNDS = 512
"""Real sounds that samples are compared with. Source: ours; their features take a minute or two on a CPU, once."""


@dataclass(kw_only=True, slots=True)
class SoundEvaluation:
    """Makes the samples of a run and says how they compare; called by the training loop.

    Args:
        folder: Of the run.
        clips: The clips whose captions or transcripts are the prompts, at least one.
        making: How sounds are made.
        maker_of: The whole model around the averaged network.
        stores: What each listener heard.
        real: Moments of each listener's real features.
    """

    folder: Path
    clips: Sequence[RealClip]
    making: Making
    maker_of: "Callable[[nn.Module], Maker]"
    stores: Sequence[HeardStore] = ()
    real: Sequence[Moments] = field(default=())

    def __call__(self, state: TrainingState) -> Report:
        """Sounds of the averaged weights as they are now, and `fd_<listener>` and `clap_score` of them."""
        begun = time.perf_counter()
        maker = self.maker_of(state.ema.network)
        waves_BCT = make_some(maker, self.clips, self.making)
        named = [(f"{n:03d}-{clip.clip_id}.wav", clip, self.making) for n, clip in enumerate(self.clips)]
        with sample_folder(self.folder, state.clips_seen) as inside:
            for (name, _, _), wave_CT in zip(named, waves_BCT, strict=True):
                write_sound(inside / name, wave_CT, maker.sample_rate_hz)
            write_list(inside, named)
            report = self._judged(made_set(inside, None, self.clips))
        return {"samples": float(len(named)), **report, "evaluation_s": time.perf_counter() - begun}

    def _judged(self, sounds: Sequence[Sound]) -> dict[str, float]:
        """What every listener says of the samples."""
        report: dict[str, float] = {}
        for store, real in zip(self.stores, self.real, strict=True):
            store.hear(sounds)
            features, listener = store.features(sounds), store.listener
            if len(features) > 1:
                report[f"fd_{listener.kind}"] = frechet_distance(real, Moments.of(features))
            if listener.embed_text is not None and all(sound.caption for sound in sounds):
                captions = listener.embed_text([sound.caption for sound in sounds])
                report["clap_score"] = paired_cosine(captions, store.means(sounds))
        return report


def sound_evaluation(
    options: EvaluationOptions,
    *,
    folder: Path,
    source: Source,
    making: Making,
    maker_of: "Callable[[nn.Module], Maker]",
    world: World,
) -> SoundEvaluation | None:
    """The evaluation of a run; real sounds are heard now, those that were heard before are not heard again.

    Args:
        options: What the user said.
        folder: Of the run.
        source: What is trained on, the first of several.
        making: How sounds are made.
        maker_of: The whole model around a network.
        world: The processes that train together.

    Returns:
        None where no samples are asked for, or in another process than the first.

    Raises:
        ArgumentError: Too few clips have what samples are made of, or a listener cannot be loaded.
    """
    if not options.samples or not world.is_first:
        return None
    clips = _trained_on(source, making.seed)
    order = [clips[n] for n in np.random.default_rng([making.seed, 2]).permutation(len(clips))]
    chosen = [clip for clip in order if making.can_use(clip)][: options.samples]
    if len(chosen) < options.samples:
        kind = "transcripts" if making.prompt == "transcript" else "captions"
        raise ArgumentError(f"{len(chosen)} clips have {kind}, too few for --samples {options.samples}")
    names = options.judges or tuple(listeners_at_hand(source.dataset))
    stores, moments = [], []
    for name in names:
        store = HeardStore(folder / "evaluation" / "features", load_listener(name, "--judge"))
        real = [clip.sound(making.seconds) for clip in order[:REAL_SOUNDS]]
        missing = store.missing(real)
        with Progress(f"{store.listener.kind} hears", total=len(missing), unit="sounds") as progress:
            store.hear(missing, progress)
        try:
            moments.append(Moments.of(store.features(real)))
        except ValueError as error:
            raise ArgumentError(f"--judge {name}: {error}") from error
        stores.append(store)
    return SoundEvaluation(folder=folder, clips=chosen, making=making, maker_of=maker_of, stores=stores, real=moments)


def _trained_on(source: Source, seed: int) -> list[RealClip]:
    """The clips of a source that meet its condition."""
    clips = packed_set(source.dataset, source.generation, seed=seed).clips
    if source.where is None:
        return clips
    wanted = set(clips_where(source.dataset, source.where))
    return [clip for clip in clips if clip.clip_id in wanted]
