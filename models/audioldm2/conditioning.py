"""What AudioLDM 2 is conditioned on: words, as CLAP's vector and T5's tokens, and sounds, as CLAP's vector and LOA.

`FrozenEncoders` makes streams of words; `streams_of_batch` takes those that were made before training.

Legend: B batch, S width of a CLAP vector, T tokens of a text, C their width, R sound samples, L LOA vectors, G those of
them that a sound gives, W their width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.audioldm2.language import Stream, StreamConfig, Streams
from models.audiox.conditioning import TextEncoder
from models.encoders.audiomae import AudioMae, pooling_window
from models.encoders.clap import ClapEncoder
from models.training.step import Batch

CLAP, TEXT = "clap", "t5"
"""Names of the streams of words."""

Nothing = Mapping[str, Tensor]
"""By the name of a stream, its tokens (T, C) where nothing is said; a stream without any is then hidden."""

MOST_TEXTS = 65_536
"""Texts that are remembered. Source: ours; for a small set, where most come again."""


def streams_of_batch(
    batch: Batch,
    wanted: Sequence[StreamConfig],
    *,
    dropped_B: Tensor,
    nothing: Nothing,
    of_sound_B: Tensor | None = None,
) -> dict[str, Stream]:
    """The streams of a batch of training.

    Args:
        batch: `said` (B, S) for the stream `clap` and `tokens` (B, T, C) with `token_lengths` for `t5`, absent where
            every text is blank; for any other stream NAME, `NAME` (B, T, C) and `NAME_lengths`. `teachers` (B, S) with
            `has_teachers` where a sound's CLAP vector may stand for that of its words.
        wanted: The streams.
        dropped_B: bool, where everything is taken away; where a text is blank, `clap` and `t5` are.
        nothing: What stands there.
        of_sound_B: bool, where the sound's vector is taken, if there is one.

    Raises:
        ValueError: the batch lacks a stream.
    """
    device = dropped_B.device
    blank_B = torch.tensor([not text.strip() for text in batch["texts"]], device=device)
    found = {}
    for one in wanted:
        stream = _stream(batch, one, len(dropped_B), device)
        if one.name == CLAP and of_sound_B is not None and batch.get("teachers") is not None:
            of_sound_B = of_sound_B & torch.as_tensor(batch["has_teachers"], device=device)
            vectors_BS = torch.nn.functional.normalize(batch["teachers"], dim=1)
            tokens_BTC = torch.where(of_sound_B[:, None, None], vectors_BS[:, None], stream.tokens_BTC)
            stream = Stream(tokens_BTC=tokens_BTC, shown_BT=stream.shown_BT, lengths_B=stream.lengths_B)
        empty_B = dropped_B | blank_B if one.name in (CLAP, TEXT) else dropped_B
        found[one.name] = emptied(stream, empty_B, nothing.get(one.name))
    return found


def emptied(stream: Stream, empty_B: Tensor, nothing_TC: Tensor | None) -> Stream:
    """A stream that says nothing in some samples; it takes up as many positions there as before."""
    if nothing_TC is not None:
        return stream.replaced(empty_B, nothing_TC.to(stream.tokens_BTC))
    return Stream(
        tokens_BTC=stream.tokens_BTC, shown_BT=stream.shown_BT & ~empty_B[:, None], lengths_B=stream.lengths_B
    )


def _stream(batch: Batch, one: StreamConfig, count: int, device: torch.device) -> Stream:
    """A stream as the batch has it."""
    if one.name == CLAP and batch.get("said") is not None:
        return Stream.of_vectors(batch["said"])
    names = ("tokens", "token_lengths") if one.name == TEXT else (one.name, f"{one.name}_lengths")
    if batch.get(names[0]) is not None:
        return Stream.of_tokens(batch[names[0]], batch[names[1]])
    if one.name == TEXT and not any(text.strip() for text in batch["texts"]):
        return Stream.of_tokens(torch.zeros(count, 1, one.width, device=device), [1] * count)
    raise ValueError(f"the batch has no {'said' if one.name == CLAP else names[0]!r} for stream {one.name!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """A sound that is to go on, in the language of audio.

    Attributes:
        loa_GW: Those vectors whose patches it fills wholly.
        vector_S: Its CLAP vector.
    """

    loa_GW: Tensor
    vector_S: Tensor


class FrozenEncoders:
    """The frozen networks that words and sounds go through, on one device, without gradients."""

    def __init__(
        self,
        clap: ClapEncoder,
        text: TextEncoder,
        listener: AudioMae | None = None,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        """Takes loaded encoders; without a listener no sound can be gone on from."""
        self.clap = clap
        self.text = text
        self.listener = listener
        self.device = torch.device(device)
        self._remembered: dict[str, tuple[Tensor, Tensor]] = {}

    def streams(self, texts: Sequence[str]) -> dict[str, Stream]:
        """Streams of words; an empty text says nothing, as "" does."""
        rows = [self._of(text) for text in texts]
        return {
            CLAP: Stream.of_vectors(torch.stack([said_S for said_S, _ in rows])),
            TEXT: Stream.of_rows([tokens_TC for _, tokens_TC in rows]),
        }

    def forget(self) -> None:
        """Reads every text anew, as when it is asked for the first time."""
        self._remembered.clear()

    def nothing(self) -> dict[str, Tensor]:
        """What stands where nothing is said: the streams of ""."""
        said_S, tokens_TC = self._of("")
        return {CLAP: said_S[None], TEXT: tokens_TC}

    def given(self, wave_R: Tensor, *, sample_rate_hz: int, factor: int, window_s: float) -> Given:
        """What a sound says at its beginning.

        Args:
            wave_R: Float32, full scale 1, at least a sample.
            sample_rate_hz: Its rate.
            factor: Of the LOA, as `Hearing` has it.
            window_s: Length of the sound that is made, s: what is beyond is not heard, and what is missing is silence.

        Raises:
            ValueError: there is no listener, or it hears no windows as long.
        """
        if self.listener is None:
            raise ValueError("this model has no AudioMAE to hear a sound with: give its folder the folder `audiomae`")
        rate_hz = self.listener.sample_rate_hz
        heard_R = resampled(wave_R.to(self.device), sample_rate_hz, rate_hz)[: round(window_s * rate_hz)]
        loa_LW = self.listener.language_of_audio(heard_R[None], factor=factor)[0]
        vector_S = self.clap.embed_sound(self._to_clap(wave_R, sample_rate_hz)[None])[0]
        return Given(
            loa_GW=loa_LW[: vectors_within(self.listener, len(heard_R), factor)], vector_S=vector_S.to(self.device)
        )

    def agreement(self, wave_BR: Tensor, sample_rate_hz: int, texts: Sequence[str]) -> Tensor:
        """How near each sound is to its text by CLAP, -1 to 1, float32 (B,) on the CPU."""
        waves = torch.stack([self._to_clap(wave_R, sample_rate_hz) for wave_R in wave_BR])
        said_BS = torch.stack([self._of(text)[0] for text in texts])
        return (self.clap.embed_sound(waves) * said_BS).sum(1).cpu()

    def _to_clap(self, wave_R: Tensor, sample_rate_hz: int) -> Tensor:
        """A sound as CLAP wants it: at its rate, the first window."""
        wanted_hz = self.clap.sample_rate_hz
        return resampled(wave_R.to(self.device), sample_rate_hz, wanted_hz)[: int(self.clap.window_s * wanted_hz)]

    @torch.no_grad()
    def _of(self, text: str) -> tuple[Tensor, Tensor]:
        """CLAP's vector (S,) and T5's tokens (T, C) of a text, alone: beside others it would have other last bits."""
        text = text if text.strip() else ""
        if (found := self._remembered.get(text)) is None:
            hidden_BTC, mask_BT = self.text.text_tokens([text])
            tokens_TC = hidden_BTC[0][mask_BT[0].bool()].to(self.device, torch.float32)
            found = self.clap.embed_text([text])[0].to(self.device, torch.float32), tokens_TC
            if len(self._remembered) < MOST_TEXTS:
                self._remembered[text] = found
        return found


def vectors_within(listener: AudioMae, samples: int, factor: int) -> int:
    """How many LOA vectors pool nothing but patches that lie wholly within the first samples of a sound."""
    grid, fbank = listener.config.grid, listener.config.fbank
    window = pooling_window(grid, factor)
    step_samples = window[0] * listener.config.patch * fbank.hop_samples
    columns = grid[1] // window[1]
    return min(samples // step_samples, grid[0] // window[0]) * columns


def resampled(wave_R: Tensor, rate_hz: int, wanted_hz: int) -> Tensor:
    """A sound at another rate, by its spectrum: what is above half the lower rate is lost. Ours; ends wrap around.

    Args:
        wave_R: Float32.
        rate_hz: Its rate.
        wanted_hz: The rate of what comes out.
    """
    if rate_hz == wanted_hz:
        return wave_R
    length = max(1, round(len(wave_R) * wanted_hz / rate_hz))
    return torch.as_tensor(torch.fft.irfft(torch.fft.rfft(wave_R), n=length)) * (length / len(wave_R))


def of_streams(streams: Streams, rows: slice | Tensor) -> dict[str, Stream]:
    """Streams of some samples."""
    return {name: stream.rows(rows) for name, stream in streams.items()}
