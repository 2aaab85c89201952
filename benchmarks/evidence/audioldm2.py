"""Whether the language of audio helps beside words: small AudioLDM 2s against the same UNet conditioned on words alone.

    python -m benchmarks.evidence.audioldm2 --out FOLDER [--seeds 0 1 2] [--save]

On ESC-50's recordings, split by source. Both are trained on as many clips; what one is told and the other
is not is the language of audio (LOA) of an AudioMAE that was trained on the same recordings. So that it takes minutes
on one core, latents are no autoencoder's but log-mel spectrograms, averaged over 160 ms and four bands, and what is
made is judged there too: which class's mean is nearest, where means are those of held-out recordings. Asked are

* how far velocities are missed in recordings, by words alone, by words and the LOA that the language model says of
  them, by words and the true LOA (a bound, as it is heard in the recording itself), and by that of another recording;
* how near what is said is to the true LOA of held-out recordings, beside the mean of all and of the class;
* how many sounds made from words are of the class that was asked for.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.evidence.esc50 import labels_of, make_dataset, of_classes, recordings, sounds_folder, widest_classes
from benchmarks.evidence.shown import Row, keep, lines_of, right_of
from curation.dataset import Dataset
from curation.encode import read_sound
from curation.selections.selection import read_rows
from models.audioldm2.conditioning import CLAP, TEXT, FrozenEncoders, emptied
from models.audioldm2.generate import Conditions, Steps, denoised
from models.audioldm2.language import LanguageConfig, Stream, Streams
from models.audioldm2.network import AudioLdm2Config, AudioLdm2Network, UNetConfig
from models.audioldm2.objective import ObjectiveSettings, Phase
from models.audioldm2.phases import AudioLdm2Recipe, PhaseRecipe, train_phases
from models.audioldm2.recipes import VELOCITIES, Widths
from models.audiox.pretrained import T5TextTokens
from models.codecs.mel import LogMel, LogMelConfig
from models.encoders.audiomae import AudioMae
from models.encoders.clap import ClapEncoder
from models.encoders.word_t5 import save_word_t5
from models.training.averaged import seeded
from models.training.ema import EmaSettings
from models.training.loop import TrainSettings
from models.training.schedule import Schedule
from models.training.step import Batch, sample_rngs
from models.training.world import World
from pipelines.verbs.train import train

RESULTS = Path(__file__).resolve().parent.parent / "results"
RATE_HZ, SAMPLES = 16_000, 79_360
"""31 latent frames of 160 ms, 4.96 s."""

FRAMES, BANDS = 31, 16
RATES: dict[Phase, float] = {"diffusion": 2e-3, "language": 2e-3, "joint": 5e-4}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is trained and made.

    Args:
        classes: So many, those of most sources.
        diffusion_clips: Clips that the UNet sees on true LOA; the model of words sees these and the next.
        joint_clips: Clips of the joint phase.
        language_clips: Clips that the language model sees before.
        listener_clips: Clips that the AudioMAE sees.
        draws: Of level and noise, for each held-out recording.
        made: Sounds of each class.
        steps: Of sampling.
        guidance: Of sampling.
    """

    classes: int = 50
    diffusion_clips: int = 4_000
    joint_clips: int = 1_200
    language_clips: int = 9_600
    listener_clips: int = 2_400
    draws: int = 8
    made: int = 2
    steps: int = 20
    guidance: float = 2.5


@dataclass(frozen=True, slots=True)
class Sounds:
    """Recordings as a network reads them.

    Args:
        latents_NFD: Log-mel, averaged.
        heard_NLW: Their LOA.
        texts: Their captions.
        labels: Their classes.
    """

    latents_NFD: Tensor
    heard_NLW: Tensor
    texts: list[str]
    labels: list[str]


def sounds_of(dataset: Dataset, split: str, listener: AudioMae) -> Sounds:
    """The recordings of a split, their first 4.96 s."""
    mel, labels = LogMel(LogMelConfig()), labels_of(dataset, split)
    waves, named = [], []
    for row in read_rows(dataset, split, kept_only=True).to_pylist():
        wave_T = read_sound(dataset.media.open_path(row["audio_sha256"], ".flac"), RATE_HZ, 1)[0][:SAMPLES]
        waves.append(np.pad(wave_T, (0, SAMPLES - len(wave_T))))
        named.append(labels[row["clip_id"]])
    wave_NT = torch.from_numpy(np.stack(waves))
    latents_NFD = torch.nn.functional.avg_pool2d(mel(wave_NT)[:, None], (16, 4))[:, 0]
    return Sounds(latents_NFD, listener.language_of_audio(wave_NT), [f"the sound of {one}" for one in named], named)


def whitened(own: Sounds, like: Sounds) -> Sounds:
    """Recordings whose bands have the mean 0 and the deviation 1 of others."""
    values = like.latents_NFD.flatten(0, 1)
    return replace(own, latents_NFD=(own.latents_NFD - values.mean(0)) / values.std(0))


@dataclass(frozen=True, slots=True)
class Data:
    """Both splits, and what reads their words."""

    trained: Sounds
    held_out: Sounds
    encoders: FrozenEncoders


def data(plan: Plan, folder: Path) -> Data:
    """The data set with a CLAP and an AudioMAE of its own, and a T5 of the words of its classes."""
    found = recordings(sounds_folder())
    dataset = make_dataset(folder / "dataset", of_classes(found, widest_classes(found, plan.classes)))
    train("clap-tiny", data=[str(dataset.path)])
    train("audiomae-tiny", data=[str(dataset.path)], clips=plan.listener_clips, seconds=5.0)
    runs = dataset.folder("runs")
    listener = AudioMae.from_pretrained(runs / "audiomae-tiny" / "model")
    trained, held_out = (sounds_of(dataset, split, listener) for split in ("train", "test"))
    save_word_t5(sorted(set(trained.texts)), folder / "words")
    clap = ClapEncoder.from_pretrained(runs / "clap-tiny" / "model")
    encoders = FrozenEncoders(clap, T5TextTokens.from_pretrained(folder / "words"), listener)
    return Data(whitened(trained, trained), whitened(held_out, trained), encoders)


def recipe(plan: Plan, sounds: Sounds, encoders: FrozenEncoders, seed: int, *, by_loa: bool) -> AudioLdm2Recipe:
    """The phases; without LOA the diffusion alone, of as many clips as its UNet sees in two phases."""
    widths = Widths(
        said_width=encoders.clap.dimension,
        text_width=encoders.text.text_width,
        loa_width=sounds.heard_NLW.shape[2],
        vectors=sounds.heard_NLW.shape[1],
    )
    clips: dict[Phase, int] = {"diffusion": plan.diffusion_clips + plan.joint_clips}
    if by_loa:
        clips = {"diffusion": plan.diffusion_clips, "language": plan.language_clips, "joint": plan.joint_clips}
    return AudioLdm2Recipe(
        network=AudioLdm2Config(
            language=LanguageConfig(
                streams=widths.streams, vectors=widths.vectors, width=widths.loa_width, depth=2, heads=4, positions=64
            ),
            unet=UNetConfig(
                latent_channels=1,
                latent_frames=FRAMES,
                loa_width=widths.loa_width,
                text_width=widths.text_width,
                width=16,
                multiples=(1, 2, 4),
                plain_levels=2,
                layers=1,
                head_channels=16,
                norm_groups=4,
            ),
        ),
        phases=tuple(
            PhaseRecipe(
                objective=ObjectiveSettings(phase=phase, schedule=VELOCITIES),
                training=TrainSettings(
                    seed=seed,
                    total_clips=count,
                    schedule=Schedule(peak=RATES[phase], warmup_clips=320, decay="cosine", floor=0.05),
                    ema=EmaSettings(halflife_clips=640),
                    report_every_clips=800,
                    save_every_clips=100_000,
                ),
            )
            for phase, count in clips.items()
        ),
        batch_clips=16,
    )


def network_of(plan: Plan, given: Data, folder: Path, seed: int, *, by_loa: bool) -> AudioLdm2Network:
    """A trained network."""
    asked = recipe(plan, given.trained, given.encoders, seed, by_loa=by_loa)
    sounds, streams = given.trained, given.encoders.streams(given.trained.texts)
    heard_NLW = sounds.heard_NLW if by_loa else torch.zeros_like(sounds.heard_NLW)

    def batch_at(number: int, rows: range) -> Batch:
        drawn = np.random.default_rng([seed, number]).integers(len(sounds.texts), size=asked.batch_clips)
        places = [int(drawn[row]) for row in rows]
        text = streams[TEXT]
        return {
            "keys": [str(place) for place in places],
            "latents": sounds.latents_NFD[places],
            "heard": heard_NLW[places],
            "said": streams[CLAP].tokens_BTC[places, 0],
            "tokens": text.tokens_BTC[places],
            "token_lengths": text.lengths_B[places].tolist(),
            "texts": [sounds.texts[place] for place in places],
        }

    network = seeded(lambda: AudioLdm2Network.of_config(asked.network), seed)
    trained = train_phases(
        network,
        asked,
        batch_at,
        nothing=given.encoders.nothing(),
        folder=folder / f"{'loa' if by_loa else 'words'}-{seed}",
        world=World(device=torch.device("cpu")),
    )
    if trained is None:
        raise SystemExit("stopped; run it again to go on")
    if not by_loa:  # there is nothing to say, and nothing is what it was told
        torch.nn.init.zeros_(trained.language.gpt2.ln_f.weight)
        torch.nn.init.zeros_(trained.language.gpt2.ln_f.bias)
    return trained.eval().requires_grad_(False)


def told(network: AudioLdm2Network, streams: Streams) -> Conditions:
    """What the network says of words, and the words."""
    return Conditions(network.language.spoken(streams), streams[TEXT])


def missed(network: AudioLdm2Network, sounds: Sounds, conditions: Conditions, plan: Plan) -> float:
    """Mean square by which velocities are missed, over levels; the same draws whichever network is asked."""
    errors = []
    for draw in range(plan.draws):
        rngs = sample_rngs(draw, 0, len(sounds.texts))
        level_B = torch.tensor([VELOCITIES.draw(rng) for rng in rngs])
        noise = torch.from_numpy(np.stack([rng.standard_normal((FRAMES, BANDS), np.float32) for rng in rngs]))
        x_BFD = sounds.latents_NFD * network.latent_scale
        z_BFD = VELOCITIES.noised(x_BFD, noise, level_B)
        found = network.noise(z_BFD, level_B, conditions.loa_BLW, conditions.text)
        errors.append(float((found - VELOCITIES.wanted(x_BFD, noise, level_B)).square().mean()))
    return float(np.mean(errors))


def made_sounds(network: AudioLdm2Network, given: Data, plan: Plan, seed: int) -> tuple[Tensor, list[str]]:
    """Latents made from the words of each class that a judge knows, and the classes."""
    classes = sorted(set(given.held_out.labels))
    asked = [label for label in classes for _ in range(plan.made)]
    streams = given.encoders.streams([f"the sound of {label}" for label in asked])
    nothing, all_B = given.encoders.nothing(), torch.ones(len(asked), dtype=torch.bool)
    empty: dict[str, Stream] = {name: emptied(stream, all_B, nothing[name]) for name, stream in streams.items()}
    shape = (FRAMES, BANDS)
    drawn = [np.random.default_rng([seed, row]).standard_normal(shape, np.float32) for row in range(len(asked))]
    noise = torch.from_numpy(np.stack(drawn))
    how = Steps(settings=VELOCITIES.ddim_settings(), count=plan.steps, guidance=plan.guidance)
    x_BFD = denoised(network, noise, told(network, streams), told(network, empty), how=how)
    return x_BFD / network.latent_scale, asked


def features(latents_NFD: Tensor) -> Tensor:
    """What the judge looks at: each band's mean, deviation, and mean change from frame to frame."""
    change = latents_NFD.diff(dim=1).abs().mean(1)
    return torch.cat([latents_NFD.mean(1), latents_NFD.std(1), change], dim=1)


def right(latents_NFD: Tensor, labels: Sequence[str], judge: Sounds) -> int:
    """How many are nearest to the mean of their class among a judge's recordings."""
    classes = sorted(set(judge.labels))
    known = features(judge.latents_NFD)
    middle, spread = known.mean(0), known.std(0) + 1e-6
    means = torch.stack(
        [((known - middle) / spread)[[own == label for own in judge.labels]].mean(0) for label in classes]
    )
    nearest = torch.cdist((features(latents_NFD) - middle) / spread, means).argmin(1)
    return sum(classes[int(place)] == label for place, label in zip(nearest, labels, strict=True))


def language_rows(networks: Mapping[int, AudioLdm2Network], given: Data) -> list[Row]:
    """Mean absolute distance to the true LOA of held-out recordings."""
    held, own = given.held_out, given.trained
    of_class = torch.stack([own.heard_NLW[[one == label for one in own.labels]].mean(0) for label in held.labels])
    distances = {
        "the mean of all": own.heard_NLW.mean(0).expand_as(held.heard_NLW),
        "the mean of the class": of_class,
        **{
            f"what the language model says, seed {seed}": network.language.spoken(given.encoders.streams(held.texts))
            for seed, network in networks.items()
        },
    }
    return [
        {"LOA": name, "distance to the true one": float((one - held.heard_NLW).abs().mean())}
        for name, one in distances.items()
    ]


def missed_rows(network: AudioLdm2Network, given: Data, plan: Plan, *, by_loa: bool) -> dict[str, dict[str, float]]:
    """By how much velocities are missed with what the network is told, of both splits."""
    rows: dict[str, dict[str, float]] = {}
    for split, sounds in (("of training", given.trained), ("held out", given.held_out)):
        said = told(network, given.encoders.streams(sounds.texts))
        ways = {"words alone": said}
        if by_loa:
            others_NLW = sounds.heard_NLW.roll(len(sounds.texts) // 2, dims=0)
            ways = {
                "words and the LOA that is said": said,
                "words and the true LOA": Conditions(sounds.heard_NLW, said.text),
                "words and the true LOA of another": Conditions(others_NLW, said.text),
            }
        for way, conditions in ways.items():
            rows.setdefault(way, {})[split] = missed(network, sounds, conditions, plan)
    return rows


def measured(plan: Plan, folder: Path, seeds: Sequence[int]) -> dict[str, list[Row]]:
    """All tables."""
    given = data(plan, folder)
    held, by_seed = given.held_out, {}
    rows: list[Row] = []
    sounds: list[Row] = []
    for seed in seeds:
        for name, by_loa in (("words alone", False), ("words and LOA", True)):
            network = network_of(plan, given, folder, seed, by_loa=by_loa)
            if by_loa:
                by_seed[seed] = network
            found = missed_rows(network, given, plan, by_loa=by_loa)
            rows += [{"conditioned on": way, "seed": seed, **left} for way, left in found.items()]
            latents, asked = made_sounds(network, given, plan, seed)
            hits = right_of(right(latents, asked, held), len(asked))
            sounds.append({"made from": name, "seed": seed, "of their class": hits})
    known = [place for place, label in enumerate(given.trained.labels) if label in held.labels]
    real = right(given.trained.latents_NFD[known], [given.trained.labels[place] for place in known], held)
    sounds.append({"made from": "real recordings", "of their class": right_of(real, len(known))})
    return {"velocities": rows, "language": language_rows(by_seed, given), "sounds": sounds}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the data set and the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the runs")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/evidence-audioldm2.json")
    given = parser.parse_args()
    plan = Plan()
    tables = measured(plan, given.out.resolve(), given.seeds)
    for title, rows in tables.items():
        print("\n".join([f"{title}:", *lines_of(rows), ""]), flush=True)
    if given.save:
        about: dict[str, Any] = {"plan": asdict(plan), "seeds": given.seeds}
        keep(RESULTS / "evidence-audioldm2.json", tables, **about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
