"""AudioLDM 2 as one uses it: sounds from words, or from words and the beginning of a sound.

A model lies on the disk as diffusers' pipeline does (`saved.py`), which loads it too.

Legend: B sounds, K candidates of each, N candidates in all, C channels, R samples, F latent frames, D latent channels,
L LOA vectors, W their width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from models.audioldm2.conditioning import CLAP, FrozenEncoders, Given, emptied, of_streams
from models.audioldm2.hearing import Hearing
from models.audioldm2.language import Stream, Streams
from models.audioldm2.network import AudioLdm2Network
from models.audioldm2.objective import published_schedule
from models.audioldm2.phonemes import PHONEMES, Spoken, stream_of_phonemes
from models.audiox.sampling import Seed, start_noise
from models.codecs.mel_vae import MelVaeCodec
from models.diffusion.solvers import OnStep


@dataclass(frozen=True, slots=True)
class Conditions:
    """What some sounds are conditioned on.

    Attributes:
        loa_BLW: What they are, in the language of audio.
        text: The stream that is read beside it; None: none is.
    """

    loa_BLW: Tensor
    text: Stream | None

    def repeated(self, count: int) -> "Conditions":
        """Each as often as it has candidates."""
        places = torch.arange(len(self.loa_BLW), device=self.loa_BLW.device).repeat_interleave(count)
        return Conditions(self.loa_BLW[places], None if self.text is None else self.text.rows(places))

    def beside(self, others: "Conditions") -> "Conditions":
        """These and, behind them, others of the same shapes."""
        text = self.text
        if text is not None and others.text is not None:
            text = Stream(
                tokens_BTC=torch.cat([text.tokens_BTC, others.text.tokens_BTC]),
                shown_BT=torch.cat([text.shown_BT, others.text.shown_BT]),
                lengths_B=torch.cat([text.lengths_B, others.text.lengths_B]),
            )
        return Conditions(torch.cat([self.loa_BLW, others.loa_BLW]), text)


class AudioLDM2:
    """A trained model with its codec and its frozen encoders.

    Attributes:
        network: In evaluation mode, on `device`.
        codec: Turns latents into sound.
        encoders: Turn words and sounds into streams.
        scheduler: The settings of a `DDIMScheduler` of diffusers.
        hearing: What of a sound the LOA says.
        device: Where it computes.
    """

    def __init__(
        self,
        network: AudioLdm2Network,
        *,
        codec: MelVaeCodec,
        encoders: FrozenEncoders,
        scheduler: dict[str, Any] | None = None,
        hearing: Hearing | None = None,
    ) -> None:
        """Puts the parts together.

        Raises:
            ValueError: if the parts do not fit each other.
        """
        channels, latent_channels = int(network.unet.config.in_channels), int(codec.vae.config.latent_channels)
        if channels != latent_channels:
            raise ValueError(f"the network was made for {channels} latent channels, the codec has {latent_channels}")
        widths = {one.name: one.width for one in network.language.config.streams}
        if widths.get(CLAP) not in (None, encoders.clap.dimension):
            raise ValueError(
                f"the network was made for a CLAP of {widths[CLAP]}, the one given has {encoders.clap.dimension}"
            )
        listener = encoders.listener
        if listener is not None and listener.dimension != network.language.config.width:
            raise ValueError(
                f"the network says vectors of {network.language.config.width}, the AudioMAE {listener.dimension}"
            )
        self.network = network.eval()
        # Measured on a CPU: a step takes a tenth less with channels last, and comes to the same but for 2e-6.
        network.unet.to(memory_format=torch.channels_last)
        self.codec = codec
        self.encoders = encoders
        self.scheduler = scheduler or published_schedule().ddim_settings()
        self.hearing = hearing or Hearing()
        self.device = encoders.device

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, device: torch.device | str = "cpu", listener: str | Path | None = None
    ) -> Self:
        """Loads a model from its folder, that of the run that made it, or one as diffusers saves its pipeline.

        Args:
            folder: Such a folder, as a copy of `cvssp/audioldm2`.
            device: Where it computes.
            listener: An AudioMAE where the folder has none; it is needed only to go on from sounds and to train.

        Raises:
            FileNotFoundError: if there is no model in the folder.
            ValueError: if its parts do not fit each other, or it is of a kind that is not known.
        """
        from models.audioldm2.saved import read_parts

        return cls(**read_parts(Path(folder), device=device, listener=listener))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes a model's folder; one that is there is replaced once the new one is whole."""
        from models.audioldm2.saved import write_model

        write_model(self, Path(folder))

    @torch.no_grad()
    def generate(
        self,
        text: Sequence[str | Spoken] | None = None,
        *,
        audio: Sequence[Tensor | None] | None = None,
        seconds: float | None = None,
        steps: int = 50,
        guidance: float = 3.5,
        seed: Seed = 0,
        candidates: int = 1,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Makes one sound for each prompt.

        Sound i depends on its prompt, the seed and i, not on the other prompts.

        Args:
            text: B prompts; an empty one says nothing. For a model of speech `Spoken` ones, of who speaks and what.
            audio: The beginning of a sound for each prompt, float32 (R,) at the codec's rate, or None: in the language
                of audio it is gone on from there, and where there are no words its CLAP vector stands for them.
            seconds: Length of the sounds; None: as in training.
            steps: Of DDIM. Source: 200 in the paper; 50 is ours.
            guidance: 1 follows the prompt as it was learned, above 1 more strongly. Source: 3.5 in the paper.
            seed: Of the noise that the sounds start from; or one of each sound, a number or a tuple of them. The pair
                (seed, i) is what one seed for all comes to.
            candidates: Sounds made for each that is kept: the one nearest to its words by CLAP. Source: 3 in the paper.
            on_step: Called with (steps done, steps in all).

        Returns:
            float32 (B, C, R) on the CPU, at the codec's rate; full scale is 1, and values beyond it are cut.

        Raises:
            ValueError: if there is no prompt, or a number is out of range.
            FloatingPointError: if what comes out is not finite.
        """
        prompts, sounds = self._prompts(text, audio)
        texts = [one.text for one in prompts]
        seconds = self.hearing.window_s if seconds is None else seconds
        self._check(texts, seconds=seconds, steps=steps, guidance=guidance, candidates=candidates)
        frames = math.ceil(round(seconds * self.codec.latent_rate_hz, 6))
        noise_BFD = start_noise(_keys(seed, len(texts), candidates), len(texts) * candidates, (frames, self._channels))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            said, unsaid = self._conditions(prompts, sounds)
            how = Steps(settings=self.scheduler, count=steps, guidance=guidance)
            conditions = said.repeated(candidates), unsaid.repeated(candidates)
            x_BFD = denoised(self.network, noise_BFD.to(self.device), *conditions, how=how, on_step=on_step)
        wave_BCR = self.codec.decode(x_BFD.float() / self.network.latent_scale)
        wave_BCR = wave_BCR[..., : round(seconds * self.codec.sample_rate_hz)].float().cpu()
        if not bool(wave_BCR.isfinite().all()):
            raise FloatingPointError(
                f"a sound came out that is not finite, with guidance {guidance}: try a lower one, or other weights"
            )
        return self._nearest(wave_BCR.clamp(-1, 1), texts, candidates)

    @property
    def _channels(self) -> int:
        return self.codec.latent_channels

    def _prompts(
        self, text: Sequence[str | Spoken] | None, audio: Sequence[Tensor | None] | None
    ) -> tuple[list[Spoken], list[Tensor | None]]:
        """Words and sounds of each prompt."""
        if isinstance(text, str):
            raise ValueError("text must be a list of prompts, not one string")
        count = len(text if text is not None else audio or ())
        texts = [""] * count if text is None else text
        prompts = [one if isinstance(one, Spoken) else Spoken(text=one) for one in texts]
        sounds: list[Tensor | None] = [None] * count if audio is None else list(audio)
        if not count or len(sounds) != count:
            raise ValueError(
                f"{len(prompts)} texts and {len(sounds)} sounds: give at least one prompt, and as many of both"
            )
        for wave_R in sounds:
            if wave_R is not None and (wave_R.ndim != 1 or not len(wave_R)):
                raise ValueError(f"a sound must be (R,) with at least a sample, got {tuple(wave_R.shape)}")
        return prompts, sounds

    def _check(self, texts: list[str], *, seconds: float, steps: int, guidance: float, candidates: int) -> None:
        levels = int(self.scheduler["num_train_timesteps"])
        if not 0 < seconds < math.inf or round(seconds * self.codec.sample_rate_hz) < 1:
            raise ValueError(f"seconds is {seconds}: a sound must be at least a sample long")
        if not 1 <= steps <= levels:
            raise ValueError(f"steps is {steps}: it goes from 1 to the {levels} levels of the model")
        if not math.isfinite(guidance):
            raise ValueError(f"guidance is {guidance}: it must be a finite number")
        if candidates < 1:
            raise ValueError(f"candidates is {candidates}: it must be at least 1")
        if candidates > 1 and not all(text.strip() for text in texts):
            raise ValueError("candidates are ranked by their words: give each prompt a text, or drop candidates")

    def _streams(self, prompts: list[Spoken]) -> dict[str, Stream]:
        """The streams of words, and of what is said where the model was trained on it."""
        streams, ipas = self.encoders.streams([one.text for one in prompts]), [one.phonemes for one in prompts]
        if any(one.name == PHONEMES for one in self.network.language.config.streams):
            return {**streams, PHONEMES: stream_of_phonemes(ipas, self.device)}
        if any(ipas):
            raise ValueError("this model was trained without phonemes: it cannot be told what is said")
        return streams

    def _conditions(self, prompts: list[Spoken], sounds: list[Tensor | None]) -> tuple[Conditions, Conditions]:
        """What the sounds are conditioned on, and what guidance leads away from."""
        streams, texts = self._streams(prompts), [one.text for one in prompts]
        given = [None if wave_R is None else self._given(wave_R) for wave_R in sounds]
        for row, (text, one) in enumerate(zip(texts, given, strict=True)):
            if one is not None and not text.strip():
                streams[CLAP].tokens_BTC[row, 0] = one.vector_S
        nothing, all_B = self.encoders.nothing(), torch.ones(len(texts), dtype=torch.bool, device=self.device)
        empty = {name: emptied(stream, all_B, nothing.get(name)) for name, stream in streams.items()}
        name = self.network.text_stream
        said, unsaid = self._spoken(streams, given), self._spoken(empty, [None] * len(texts))
        if name is None:
            return Conditions(said, None), Conditions(unsaid, None)
        return Conditions(said, streams[name]), Conditions(unsaid, empty[name])

    def _given(self, wave_R: Tensor) -> Given:
        hearing, rate_hz = self.hearing, self.codec.sample_rate_hz
        return self.encoders.given(wave_R, sample_rate_hz=rate_hz, factor=hearing.factor, window_s=hearing.window_s)

    def _spoken(self, streams: Streams, given: Sequence[Given | None]) -> Tensor:
        """The LOA of each prompt; those of which as many vectors are given are said at once."""
        language = self.network.language
        counts = [0 if one is None else len(one.loa_GW) for one in given]
        loa_BLW = torch.empty(len(given), language.config.vectors, language.config.width, device=self.device)
        for count in sorted(set(counts)):
            rows = torch.tensor([row for row, own in enumerate(counts) if own == count], device=self.device)
            known = [given[row].loa_GW for row in rows.tolist()] if count else []
            said = language.spoken(of_streams(streams, rows), given_BGW=torch.stack(known) if known else None)
            loa_BLW[rows] = said.float()
        return loa_BLW

    def _nearest(self, wave_NCR: Tensor, texts: list[str], candidates: int) -> Tensor:
        """Of each prompt's candidates the one nearest to its words."""
        if candidates == 1:
            return wave_NCR
        asked = [text for text in texts for _ in range(candidates)]
        near_BK = self.encoders.agreement(wave_NCR.mean(1), self.codec.sample_rate_hz, asked).view(-1, candidates)
        best_B = near_BK.argmax(1) + torch.arange(len(texts)) * candidates
        return wave_NCR[best_B]


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """How noise becomes latents.

    Attributes:
        settings: Of a `DDIMScheduler`.
        count: How many.
        guidance: 1 follows the conditions as they were learned.
    """

    settings: dict[str, Any]
    count: int
    guidance: float


def denoised(
    network: AudioLdm2Network,
    noise_BFD: Tensor,
    said: Conditions,
    unsaid: Conditions,
    *,
    how: Steps,
    on_step: OnStep | None = None,
) -> Tensor:
    """From noise to latents of unit variance by DDIM: Song et al. 2020, arXiv 2010.02502, with eta 0.

    Args:
        network: In evaluation mode.
        noise_BFD: Where they start.
        said: What they follow.
        unsaid: What guidance leads away from.
        how: The steps.
        on_step: Called with (steps done, steps in all).
    """
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(**how.settings)
    scheduler.set_timesteps(how.count, device=noise_BFD.device)
    is_led = how.guidance != 1
    both = unsaid.beside(said) if is_led else said
    x_BFD, count = noise_BFD, len(noise_BFD)
    for done, level in enumerate(scheduler.timesteps, 1):
        twice = torch.cat([x_BFD, x_BFD]) if is_led else x_BFD
        predicted = network.noise(twice, level.expand(len(twice)), both.loa_BLW, both.text).float()
        if is_led:
            away, toward = predicted[:count], predicted[count:]
            predicted = away + how.guidance * (toward - away)
        x_BFD = scheduler.step(predicted, level, x_BFD).prev_sample
        if on_step is not None:
            on_step(done, how.count)
    return x_BFD


def _keys(seed: Seed, count: int, candidates: int) -> list[tuple[int, ...]]:
    """What each candidate's noise is drawn from; the first of each prompt is what a single one would be."""
    if isinstance(seed, Sequence):
        keys = [(index(one),) if not isinstance(one, Sequence) else tuple(one) for one in seed]
    else:
        keys = [(index(seed), number) for number in range(count)]
    if len(keys) != count:
        raise ValueError(f"{len(keys)} seeds for {count} sounds: give one for each, or one for all")
    return [key if not number else (*key, number) for key in keys for number in range(candidates)]
