"""Batches whose transcripts are pronounced, for recipes that are told what is said."""

from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc

from curation.errors import ArgumentError
from curation.latents import Members
from curation.samples import Source
from models.audioldm2.phonemes import PHONEMES, phoneme_tokens
from models.training.averaged import RowsAt
from pipelines.wiring.phonemes import Pronouncer


def pronounced(batch_at: RowsAt, pronouncer: Pronouncer) -> RowsAt:
    """Batches with phonemes: what `phoneme_tokens` gives, under the names that the stream has.

    Args:
        batch_at: Rows of batch b, with `transcripts`.
        pronouncer: Asked once for each transcript.
    """

    def with_phonemes(number: int, rows: range) -> dict[str, Any]:
        batch = dict(batch_at(number, rows))
        tokens_BTV, lengths = phoneme_tokens(pronouncer.of(batch["transcripts"]))
        return {**batch, PHONEMES: tokens_BTV, f"{PHONEMES}_lengths": lengths}

    return with_phonemes


def require_transcripts(sources: Sequence[Source]) -> None:
    """Sees that something is said in what is trained on.

    Raises:
        ArgumentError: In no clip; says where transcripts come from.
    """
    for one in sources:
        members = Members.of(one.dataset, one.generation, one.where)
        if not pc.any(pc.not_equal(members.transcripts.take(members.wanted), "")).as_py():
            raise ArgumentError(
                f"no clip of generation {one.generation!r} of {one.dataset.path} has a transcript: give the column "
                "`transcript` to `foundsound manifest table`, then `foundsound select` and `foundsound pack` again"
            )
