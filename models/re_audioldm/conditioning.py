"""What Re-AudioLDM is conditioned on: a vector of the prompt, and what neighbours sound like and say.

`Conditions` are frozen features, once a sample; `streams_of` lays them out as the network reads them. `FrozenEncoders`
makes them of words and sounds, where they were not made before.

Legend: B batch, S width of a CLAP vector, K neighbours, L tokens of a sound, H their width, N tokens of a caption,
T their width, C width of a stream, R sound samples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from models.audiox.conditioning import TextEncoder
from models.audiox.encoder_source import EncoderSource
from models.diffusion.guidance import Context
from models.encoders.audiomae import LOA_FACTOR, AudioMae, save_audiomae
from models.encoders.clap import ClapEncoder
from models.training.step import Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """One clip that was found for a prompt.

    Attributes:
        heard_LH: The language of audio of its sound, float32.
        text_NT: Hidden states of its caption, without padding, float32; N may be 0.
    """

    heard_LH: Tensor
    text_NT: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """Conditions as frozen features.

    Attributes:
        said_BS: Unit vectors of the prompts; zeros for an absent one.
        heard_BKLH: Of the neighbours' sounds; None where no sample has neighbours.
        text_BKNT: Of their captions, likewise.
        text_lengths_BK: int64, real tokens of each caption, likewise.
        has_BK: bool, which neighbours there are, likewise.
    """

    said_BS: Tensor
    heard_BKLH: Tensor | None = None
    text_BKNT: Tensor | None = None
    text_lengths_BK: Tensor | None = None
    has_BK: Tensor | None = None

    @classmethod
    def of_batch(cls, batch: Batch, most: int) -> Self:
        """Those of a batch of training, with at most so many neighbours.

        Raises:
            ValueError: It has no `said`.
        """
        if batch.get("said") is None:
            raise ValueError("the batch has no vectors of its texts (`said`): let samples bring them")
        if batch.get("has_neighbours") is None:
            return cls(said_BS=batch["said"])
        return cls(
            said_BS=batch["said"],
            heard_BKLH=batch["neighbour_heard"][:, :most],
            text_BKNT=batch["neighbour_tokens"][:, :most],
            text_lengths_BK=batch["neighbour_token_lengths"][:, :most],
            has_BK=batch["has_neighbours"][:, :most],
        )

    @classmethod
    def of_neighbours(cls, said_BS: Tensor, found: Sequence[Sequence[Neighbour]]) -> Self:
        """Those of prompts and what was found for each, the nearest first; any number.

        Raises:
            ValueError: There are not as many lists as prompts.
        """
        if len(found) != len(said_BS):
            raise ValueError(f"{len(said_BS)} prompts and neighbours of {len(found)}: give a list for each")
        each = [one for several in found for one in several]
        if not each:
            return cls(said_BS=said_BS)
        like, most = said_BS, max(len(several) for several in found)
        longest = max(1, *(len(one.text_NT) for one in each))
        heard = like.new_zeros(len(found), most, *each[0].heard_LH.shape)
        text = like.new_zeros(len(found), most, longest, each[0].text_NT.shape[1])
        lengths = torch.zeros(len(found), most, dtype=torch.long, device=like.device)
        has = torch.zeros_like(lengths, dtype=torch.bool)
        for row, several in enumerate(found):
            for nth, one in enumerate(several):
                heard[row, nth], text[row, nth, : len(one.text_NT)] = one.heard_LH, one.text_NT
                lengths[row, nth], has[row, nth] = len(one.text_NT), True
        return cls(said_BS=said_BS, heard_BKLH=heard, text_BKNT=text, text_lengths_BK=lengths, has_BK=has)

    def keeping(self, said_B: Tensor, neighbours_B: Tensor) -> "Conditions":
        """These, without the prompt or the neighbours of some samples (where False)."""
        has_BK = None if self.has_BK is None else self.has_BK & neighbours_B[:, None]
        return replace(self, said_BS=self.said_BS * said_B[:, None], has_BK=has_BK)

    def rows(self, rows: slice) -> "Conditions":
        """Those of some samples."""
        return self._each(lambda name, held: held[rows])

    def beside(self, others: "Conditions") -> "Conditions":
        """These and, behind them, others of the same shapes."""
        return self._each(lambda name, held: torch.cat([held, getattr(others, name)]))

    def _each(self, change: Callable[[str, Tensor], Tensor]) -> "Conditions":
        """These with every part changed that is there."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(name, held) for name, held in parts.items() if held is not None})

    def emptied(self) -> "Conditions":
        """These without anything: what guidance leads away from."""
        nothing_B = torch.zeros(len(self.said_BS), dtype=torch.bool, device=self.said_BS.device)
        return self.keeping(nothing_B, nothing_B)


@dataclass(frozen=True, kw_only=True, slots=True)
class Streams:
    """What the network reads: of sounds and of captions; None where it does not read them."""

    heard: Context | None
    text: Context | None


def streams_of(
    conditions: Conditions, nothing_heard_H: Tensor | None, nothing_text_T: Tensor | None, text_tokens: int
) -> Streams:
    """Streams of tokens, each begun by the one that stands for nothing, then neighbour by neighbour.

    Captions are filled up, hidden, so that all batches have one length: a compiled network is compiled once.

    Args:
        conditions: B of them.
        nothing_heard_H: First token of the stream of sounds; None: there is no such stream.
        nothing_text_T: Likewise of captions.
        text_tokens: Tokens that are read of a caption.
    """
    heard = text = None
    has_BK = conditions.has_BK
    if nothing_heard_H is not None:
        heard_BKLH = conditions.heard_BKLH
        shown = None
        if heard_BKLH is not None and has_BK is not None:
            shown = heard_BKLH, has_BK[:, :, None].expand(heard_BKLH.shape[:3])
        heard = _begun(nothing_heard_H, len(conditions.said_BS), shown)
    if nothing_text_T is not None:
        text_BKNT, shown = conditions.text_BKNT, None
        if text_BKNT is not None and conditions.text_lengths_BK is not None and has_BK is not None:
            missing = max(0, text_tokens - text_BKNT.shape[2])
            text_BKNT = nn.functional.pad(text_BKNT[:, :, :text_tokens], (0, 0, 0, missing))
            place_N = torch.arange(text_BKNT.shape[2], device=text_BKNT.device)
            is_real_BKN = place_N < conditions.text_lengths_BK[:, :, None]
            shown = text_BKNT, is_real_BKN & has_BK[:, :, None]
        text = _begun(nothing_text_T, len(conditions.said_BS), shown)
    return Streams(heard=heard, text=text)


def _begun(first_C: Tensor, count: int, more: tuple[Tensor, Tensor] | None) -> Context:
    """A stream of a first token, always shown, and more of them, (B, K, L, C), shown where (B, K, L) is True."""
    tokens_B1C = first_C.expand(count, 1, -1)
    mask_B1 = torch.ones(count, 1, dtype=torch.bool, device=first_C.device)
    if more is None:
        return Context(tokens_BLC=tokens_B1C, mask_BL=mask_B1)
    tokens_BKLC, shown_BKL = more
    return Context(
        tokens_BLC=torch.cat([tokens_B1C, tokens_BKLC.flatten(1, 2).to(first_C.dtype)], dim=1),
        mask_BL=torch.cat([mask_B1, shown_BKL.flatten(1)], dim=1),
    )


class FrozenEncoders:
    """CLAP for prompts, AudioMAE for neighbours' sounds and a text encoder for their captions, on one device.

    A model that reads no neighbours needs the first alone.
    """

    def __init__(
        self,
        clap: ClapEncoder,
        listener: AudioMae | None,
        text: TextEncoder | None,
        *,
        heard_s: float,
        device: torch.device | str = "cpu",
    ) -> None:
        self.clap, self.listener, self.text, self.heard_s = clap, listener, text, heard_s
        self.device = torch.device(device)

    @torch.no_grad()
    def said(self, texts: Sequence[str]) -> Tensor:
        """Vectors of prompts, (B, S) float32, one by one, so that none depends on another; zeros for blank ones."""
        blank_S = torch.zeros(self.clap.dimension, device=self.device)
        return torch.stack(
            [self.clap.embed_text([text])[0].to(self.device) if text.strip() else blank_S for text in texts]
        )

    @torch.no_grad()
    def neighbour(self, wave_R: Tensor, caption: str) -> Neighbour:
        """What is read of a clip.

        Args:
            wave_R: Float32 sound at the listener's rate, mono, full scale 1, at least one sample; as much is heard as
                in training, from its beginning.
            caption: What is said of it; blank where nothing is.

        Raises:
            ValueError: These encoders are of a model that reads no neighbours.
        """
        if self.listener is None or self.text is None:
            raise ValueError("this model reads no neighbours (its retrieval is 'none'): give it prompts alone")
        samples = min(round(self.heard_s * self.listener.sample_rate_hz), self.listener.longest_samples)
        heard_1LH = self.listener.language_of_audio(wave_R[None, :samples], factor=LOA_FACTOR)
        text_NT = torch.zeros(0, self.text.text_width)
        if caption.strip():
            hidden_1NT, mask_1N = self.text.text_tokens([caption])
            text_NT = hidden_1NT[0][mask_1N[0].bool()]
        return Neighbour(
            heard_LH=heard_1LH[0].to(self.device, torch.float32), text_NT=text_NT.to(self.device, torch.float32)
        )


_LISTENER = "listener"


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderSources:
    """Where the frozen encoders come from.

    Attributes:
        clap: A CLAP by folder or name, in whose space prompts and neighbours are near.
        listener: An AudioMAE by file, folder or name; None where no neighbours are read.
        text: Of the encoder of captions, likewise.
        heard_s: How much of a neighbour's sound is heard, s, above 0.
    """

    clap: str
    listener: str | None
    text: EncoderSource | None
    heard_s: float = 10.24

    def __post_init__(self) -> None:
        if not self.heard_s > 0:
            raise ValueError(f"heard_s is {self.heard_s}: it must be above 0")
        if (self.listener is None) != (self.text is None):
            raise ValueError("neighbours are read by a listener and a text encoder: give both, or neither")

    def encoders(self, device: torch.device | str = "cpu") -> FrozenEncoders:
        """Loads them."""
        return FrozenEncoders(
            ClapEncoder.from_pretrained(self.clap, device=device),
            None if self.listener is None else AudioMae.from_pretrained(self.listener, device=device),
            None if self.text is None else self.text.text_encoder(device),
            heard_s=self.heard_s,
            device=device,
        )

    def save(self, folder: Path) -> dict[str, Any]:
        """Copies what lies in folders into a model's folder; returns what its `config.json` says of them."""
        clap = EncoderSource(kind="clap", path=self.clap).saved(folder, "clap")
        return {
            "clap": clap.path,
            "listener": None if self.listener is None else _saved_listener(self.listener, folder / _LISTENER),
            "text": None if self.text is None else asdict(self.text.saved(folder, "text_encoder")),
            "heard_s": self.heard_s,
        }

    @classmethod
    def from_saved(cls, config: Mapping[str, Any], folder: Path) -> "EncoderSources":
        """Reads back what `save` returned."""
        text = config["text"]
        return cls(
            clap=EncoderSource(kind="clap", path=config["clap"]).found(folder).path,
            listener=str(folder / _LISTENER) if config["listener"] == _LISTENER else config["listener"],
            text=None if text is None else EncoderSource(**text).found(folder),
            heard_s=float(config["heard_s"]),
        )


def _saved_listener(source: str, folder: Path) -> str:
    """Writes a listener that lies on the disk into a folder, as safetensors; a name on the Hub stays one."""
    if not Path(source).exists():
        return source
    save_audiomae(AudioMae.from_pretrained(source).network, folder)
    return folder.name
