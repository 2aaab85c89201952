"""What a frozen listener heard in the windows of clips, read beside their latents; the stage `encode_sound` wrote it.

Any thread may read.
"""

from collections.abc import Sequence

import pyarrow as pa

from curation.answers import answers
from curation.blobs import Array, BlobReader
from curation.dataset import Dataset
from curation.errors import ArgumentError, DatasetError
from curation.places import Places, numbers

SAME_LENGTH_S = 1e-6
"""How far a window and a sample may differ. Source: ours; a tenth of a sample of sound."""


class HeardTokens:
    """Tokens of the windows of some clips.

    Args:
        reader: Of the blobs.
        table: A row a clip: the columns of the stage `encode_sound`.

    Raises:
        DatasetError: The windows differ in length, or their tokens in shape.
    """

    def __init__(self, reader: BlobReader, table: pa.Table) -> None:
        self._places = Places(reader, table["blob"], table["tokens_offset_bytes"])
        self.windows = numbers(table["windows"])
        """How many each clip has."""
        kinds = table.group_by(["window_s", "tokens", "token_channels"]).aggregate([]).to_pylist()
        if len(kinds) > 1:
            raise DatasetError(f"what was heard has windows of several kinds: {kinds}")
        self.window_s = float(kinds[0]["window_s"]) if kinds else 0.0
        self.tokens = int(kinds[0]["tokens"]) if kinds else 0
        self.width = int(kinds[0]["token_channels"]) if kinds else 0

    @classmethod
    def of(cls, dataset: Dataset, called: str, keys: pa.Array) -> "HeardTokens":
        """What was heard in some clips.

        Args:
            dataset: The dataset.
            called: Name of the tokens, that of the latents.
            keys: clip_ids.

        Raises:
            ArgumentError: It was not encoded, or not for some clip.
        """
        line = "run `foundsound encode` with --listener first"
        table = answers(dataset, "encode_sound", called, keys, kind="tokens", of="sounds", line=line)
        return cls(BlobReader(dataset.root("latents")), table)

    def check(self, lengths_s: Sequence[float]) -> None:
        """See that samples are as long as the windows.

        Args:
            lengths_s: Of samples, s.

        Raises:
            ArgumentError: Some are not.
        """
        wrong = [length_s for length_s in lengths_s if abs(length_s - self.window_s) > SAME_LENGTH_S]
        if wrong:
            raise ArgumentError(
                f"samples of {wrong[0]:g} s cannot be trained on what was heard in windows of {self.window_s:g} s; run "
                f"`foundsound encode` with --listener and --window-s {wrong[0]:g} first"
            )

    def expect(self, clip: int, window: int) -> None:
        """Say that the tokens of a window of a clip will be read soon."""
        self._places.expect(clip, (self.tokens, self.width), skip=window * self.tokens * self.width)

    def read(self, clip: int, window: int) -> Array:
        """The tokens of a window of a clip, (L, W) float16."""
        return self._places.read(clip, (self.tokens, self.width), skip=window * self.tokens * self.width)
