"""The language model of AudioLDM 2: GPT-2 says the language of audio (LOA), vector by vector, after what it was told.

What it is told are streams: rows of tokens with a name, each led by a learned start vector, closed by a learned end
vector and brought to the model's width by a linear adapter of its own. CLAP's vector and T5's tokens are two; phonemes
or a picture's tokens are others. It regresses: there is no vocabulary, what comes out is the next vector itself.

Source: Liu et al. 2023, arXiv 2308.05734, and the published code (GPT-2 base, adapters, start and end vectors,
`diffusers`' `AudioLDM2ProjectionModel`). Positions do not count what a stream was padded with; ours, so that a sample
does not depend on those beside it.

Legend: B batch, C width of a stream, T its tokens, W width of the model and of the LOA, L LOA vectors, G given ones,
P length of the prompt (all streams with their starts and ends), M what is fed behind it, N all that is fed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """Tokens of one kind, of every sample.

    Attributes:
        tokens_BTC: Padded behind.
        shown_BT: bool, False where a token is padding or hidden.
        lengths_B: int64, how many positions each sample's tokens take up, hidden ones included; at most T.
    """

    tokens_BTC: Tensor
    shown_BT: Tensor
    lengths_B: Tensor

    @classmethod
    def of_vectors(cls, vectors_BC: Tensor) -> "Stream":
        """One token a sample, always shown."""
        ones_B1 = torch.ones(len(vectors_BC), 1, dtype=torch.bool, device=vectors_BC.device)
        return cls(tokens_BTC=vectors_BC[:, None], shown_BT=ones_B1, lengths_B=ones_B1.long()[:, 0])

    @classmethod
    def of_tokens(cls, tokens_BTC: Tensor, lengths: Sequence[int] | Tensor) -> "Stream":
        """The first `lengths` tokens of each sample."""
        lengths_B = torch.as_tensor(lengths, device=tokens_BTC.device).long()
        place_T = torch.arange(tokens_BTC.shape[1], device=tokens_BTC.device)
        return cls(tokens_BTC=tokens_BTC, shown_BT=place_T < lengths_B[:, None], lengths_B=lengths_B)

    @classmethod
    def of_rows(cls, rows: Sequence[Tensor]) -> "Stream":
        """Tokens of each sample without padding, (T, C)."""
        return cls.of_tokens(nn.utils.rnn.pad_sequence(list(rows), batch_first=True), [len(row) for row in rows])

    def rows(self, rows: slice | Tensor) -> "Stream":
        """That of some samples."""
        return Stream(tokens_BTC=self.tokens_BTC[rows], shown_BT=self.shown_BT[rows], lengths_B=self.lengths_B[rows])

    def replaced(self, where_B: Tensor, tokens_TC: Tensor) -> "Stream":
        """This stream with other tokens in some samples, which take up as many positions as before.

        What is beyond a sample's length is cut, and what is missing is hidden: as the pipeline of diffusers pads its
        negative prompt to the length of the prompt.

        Args:
            where_B: bool, in which samples.
            tokens_TC: The other tokens, at least one.
        """
        longest = self.tokens_BTC.shape[1]
        count = min(len(tokens_TC), longest)
        others_TC = self.tokens_BTC.new_zeros(self.tokens_BTC.shape[1:])
        others_TC[:count] = tokens_TC[:count]
        place_T = torch.arange(longest, device=self.tokens_BTC.device)
        shown_BT = (place_T < count) & (place_T < self.lengths_B[:, None])
        return replace(
            self,
            tokens_BTC=torch.where(where_B[:, None, None], others_TC, self.tokens_BTC),
            shown_BT=torch.where(where_B[:, None], shown_BT, self.shown_BT),
        )


Streams = Mapping[str, Stream]
"""Streams by name. The order is the language model's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamConfig:
    """A stream that a language model is told.

    Attributes:
        name: As `clap`.
        width: C.
    """

    name: str
    width: int

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"a stream is called {self.name!r}: give a plain word")
        if self.width < 1:
            raise ValueError(f"the width of stream {self.name!r} is {self.width}: it must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageConfig:
    """Sizes of a language model. The defaults are GPT-2 base. Source: Radford et al. 2019.

    Attributes:
        streams: What it is told, in this order.
        vectors: L, how many LOA vectors a sound has. Source: AudioLDM 2: 8 for sounds and music, 512 for speech.
        width: W, also that of the LOA; divisible by `heads`.
        depth: Blocks.
        heads: Of the attention.
        positions: Longest prompt and LOA together.
    """

    streams: tuple[StreamConfig, ...]
    vectors: int = 8
    width: int = 768
    depth: int = 12
    heads: int = 12
    positions: int = 1024

    def __post_init__(self) -> None:
        for name in ("vectors", "width", "depth", "heads", "positions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by heads {self.heads}")
        names = [stream.name for stream in self.streams]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"streams are {names}: give at least one, each once")
        if self.vectors >= self.positions:
            raise ValueError(f"{self.vectors} LOA vectors leave no room for a prompt in {self.positions} positions")


class StreamAdapter(nn.Module):
    """Brings a stream to the model's width, between a learned start and a learned end."""

    def __init__(self, width: int, model_width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, model_width)
        # Source: AudioLDM2ProjectionModel starts them at ones.
        self.start_W = nn.Parameter(torch.ones(model_width))
        self.end_W = nn.Parameter(torch.ones(model_width))

    def forward(self, tokens_BTC: Tensor) -> Tensor:
        """(B, T, C) -> (B, T + 2, W)."""
        inner_BTW = self.projection(tokens_BTC)
        ends = [vector_W.to(inner_BTW.dtype).expand(len(inner_BTW), 1, -1) for vector_W in (self.start_W, self.end_W)]
        return torch.cat([ends[0], inner_BTW, ends[1]], dim=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prompt:
    """What stands before the LOA.

    Attributes:
        embeds_BPW: Adapted streams, one behind the other.
        shown_BP: bool.
        positions_BP: int64.
        next_B: int64, the first position behind it.
    """

    embeds_BPW: Tensor
    shown_BP: Tensor
    positions_BP: Tensor
    next_B: Tensor


class LanguageOfAudio(nn.Module):
    """Says the LOA of a sound that streams describe.

    Attributes:
        config: Sizes.
        adapters: Of each stream, by name.
        gpt2: transformers' `GPT2Model`; its vocabulary is not used.
    """

    def __init__(self, config: LanguageConfig, gpt2: Any = None) -> None:
        """Makes a model with weights from torch's generator, or around a GPT-2 that is there.

        Raises:
            ValueError: the GPT-2 has other sizes than the configuration says.
        """
        super().__init__()
        self.config = config
        self.adapters = nn.ModuleDict({one.name: StreamAdapter(one.width, config.width) for one in config.streams})
        self.gpt2: Any = _gpt2(config) if gpt2 is None else gpt2
        told: Any = self.gpt2.config
        if (told.n_embd, told.n_positions) != (config.width, config.positions):
            raise ValueError(
                f"this GPT-2 is {told.n_embd} wide with {told.n_positions} positions, not {config.width} with "
                f"{config.positions}"
            )
        self.gpt2.wte.requires_grad_(False)  # of words, which there are none of

    def predicted(self, streams: Streams, loa_BLW: Tensor) -> Tensor:
        """Each LOA vector as it is said after the true ones before it (teacher forcing).

        Args:
            streams: Of B samples.
            loa_BLW: The true LOA.

        Returns:
            (B, L, W).
        """
        prompt, count = self._prompt(streams), loa_BLW.shape[1]
        # The prompt's last position says the first vector; after the last one nothing is said.
        before_BMW = loa_BLW[:, :-1].to(prompt.embeds_BPW.dtype)
        hidden_BNW = self.gpt2(
            inputs_embeds=torch.cat([prompt.embeds_BPW, before_BMW], dim=1),
            attention_mask=_with_ones(prompt.shown_BP, count - 1),
            position_ids=_with_next(prompt, count - 1),
            use_cache=False,
        ).last_hidden_state
        return hidden_BNW[:, -count:]  # type: ignore[no-any-return]

    def spoken(self, streams: Streams, *, given_BGW: Tensor | None = None) -> Tensor:
        """The LOA said vector by vector, each after those that were said before.

        Args:
            streams: Of B samples.
            given_BGW: The first vectors, where they are known, as of a sound that is to go on; they come out as they
                are.

        Returns:
            (B, L, W), L as configured.
        """
        prompt, count = self._prompt(streams), self.config.vectors
        width = prompt.embeds_BPW.shape[2]
        said = [] if given_BGW is None else [given_BGW[:, :count].to(prompt.embeds_BPW.dtype)]
        known = said[0].shape[1] if said else 0
        if known == count:
            return said[0]
        fed_BNW = torch.cat([prompt.embeds_BPW, *said], dim=1)
        position_BN, shown_BN = _with_next(prompt, known), _with_ones(prompt.shown_BP, known)
        cache = None
        for number in range(known, count):
            out = self.gpt2(
                inputs_embeds=fed_BNW,
                attention_mask=shown_BN,
                position_ids=position_BN,
                past_key_values=cache,
                use_cache=True,
            )
            cache, fed_BNW = out.past_key_values, out.last_hidden_state[:, -1:]
            said.append(fed_BNW)
            position_BN, shown_BN = (prompt.next_B + number)[:, None], _with_ones(shown_BN, 1)
        return torch.cat(said, dim=1).view(-1, count, width)

    def _prompt(self, streams: Streams) -> _Prompt:
        """All streams, one behind the other.

        Raises:
            ValueError: a stream is not known, none is given, or they are too long.
        """
        unknown = sorted(streams.keys() - {one.name for one in self.config.streams})
        if unknown or not streams:
            known = ", ".join(one.name for one in self.config.streams)
            raise ValueError(f"this language model is told {known}; given were {unknown or 'no streams'}")
        embeds, shown, positions = [], [], []
        next_B: Tensor | None = None
        for one in self.config.streams:
            stream = streams.get(one.name)
            if stream is None:
                continue
            next_B = torch.zeros_like(stream.lengths_B) if next_B is None else next_B
            embeds.append(self.adapters[one.name](stream.tokens_BTC))
            shown.append(nn.functional.pad(stream.shown_BT, (1, 1), value=True))
            place_N = torch.arange(stream.tokens_BTC.shape[1] + 1, device=next_B.device)
            # Padding has the place of the end: it is hidden, and needs one that exists.
            inner_BN = torch.minimum(place_N, stream.lengths_B[:, None])
            positions.append(torch.cat([inner_BN, stream.lengths_B[:, None] + 1], dim=1) + next_B[:, None])
            next_B = next_B + stream.lengths_B + 2
        assert next_B is not None
        prompt = _Prompt(
            embeds_BPW=torch.cat(embeds, dim=1),
            shown_BP=torch.cat(shown, dim=1),
            positions_BP=torch.cat(positions, dim=1),
            next_B=next_B,
        )
        if prompt.embeds_BPW.shape[1] + self.config.vectors > self.config.positions:
            raise ValueError(
                f"a prompt of {prompt.embeds_BPW.shape[1]} tokens and {self.config.vectors} LOA vectors do not fit "
                f"{self.config.positions} positions: shorten the text"
            )
        return prompt


def _with_ones(shown_BN: Tensor, more: int) -> Tensor:
    return nn.functional.pad(shown_BN, (0, more), value=True)


def _with_next(prompt: _Prompt, more: int) -> Tensor:
    """Positions of the prompt and of so many vectors behind it."""
    behind_M = torch.arange(more, device=prompt.next_B.device)
    return torch.cat([prompt.positions_BP, prompt.next_B[:, None] + behind_M], dim=1)


def _gpt2(config: LanguageConfig) -> nn.Module:
    """GPT-2 with a vocabulary of one word and without dropout.

    Source: the published code takes GPT-2's sizes and random weights; without dropout is ours.
    """
    from transformers import GPT2Config, GPT2Model

    return GPT2Model(  # type: ignore[no-any-return]
        GPT2Config(
            vocab_size=1,
            n_positions=config.positions,
            n_embd=config.width,
            n_layer=config.depth,
            n_head=config.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
