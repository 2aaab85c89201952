"""What a frozen encoder saw in the pictures of clips, read in their place; the stage `encode_frames` wrote it.

Any thread may read.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.answers import answers
from curation.blobs import Array, BlobReader
from curation.dataset import Dataset
from curation.encode_frames import EncodeFrames
from curation.errors import ArgumentError, DatasetError
from curation.places import Places, numbers
from curation.shards.batches import Indices


def is_seen(dataset: Dataset, stage: EncodeFrames, line: str) -> bool:
    """Whether a dataset has tokens of the stage's name.

    Args:
        dataset: The dataset.
        stage: That would make them.
        line: The command that does.

    Raises:
        ArgumentError: They are of another encoder than the stage's, or of other pictures.
    """
    kept = dataset.current_facts(stage.NAME).get(stage.label)
    if kept is None:
        return False
    if kept.name != stage.folder_name:
        raise ArgumentError(
            f"the tokens {stage.label!r} of the pictures of {dataset.path} are of another encoder than this run's, or "
            f"of pictures at another rate or of another size than {stage.frame_rate_hz:g} Hz and "
            f"{stage.frame_size_px} px; make them anew: {line}"
        )
    return True


class SeenTokens:
    """Tokens of the pictures of some clips.

    Args:
        reader: Of the blobs.
        table: A row a clip: the columns of the stage `encode_frames`, null where the clip has no picture.

    Raises:
        DatasetError: The tokens of pictures differ in shape.
    """

    def __init__(self, reader: BlobReader, table: pa.Table) -> None:
        self._places = Places(reader, table["blob"], table["tokens_offset_bytes"])
        self._frames = numbers(table["frames"])
        some = table.filter(pc.is_valid(table["blob"]))
        kinds = some.group_by(["tokens", "token_channels"]).aggregate([]).to_pylist()
        if len(kinds) > 1:
            raise DatasetError(f"tokens of pictures are of several kinds: {kinds}")
        self._shape = (int(kinds[0]["tokens"]), int(kinds[0]["token_channels"])) if kinds else (0, 0)

    @classmethod
    def of(cls, dataset: Dataset, called: str, keys: pa.Array) -> "SeenTokens":
        """What was seen in some clips.

        Args:
            dataset: The dataset.
            called: Name of the tokens, that of the latents.
            keys: clip_ids.

        Raises:
            ArgumentError: It was not encoded, or not for some clip that has a picture.
        """
        line = "run `foundsound encode` with --frame-encoder first"
        enough = ("done", "nothing")  # a clip without a picture
        table = answers(dataset, "encode_frames", called, keys, kind="tokens", of="pictures", line=line, enough=enough)
        return cls(BlobReader(dataset.root("latents")), table)

    def read(self, clip: int, wanted: Indices) -> Array | None:
        """Tokens of some of a clip's pictures, (N, P, V) float16, of the last where it has fewer; None: it has none."""
        count = self._frames.item(clip)
        if count < 1:
            return None
        return np.asarray(self._places.read(clip, (count, *self._shape))[np.minimum(wanted, count - 1)])
