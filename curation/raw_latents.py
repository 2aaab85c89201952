"""Latents and pictures made while training, of the files in the shards: nothing is encoded beforehand or stored.

It gives what the stage `encode` would have stored, at the price of decoding a sound, running the codec and decoding a
picture for every sample. Loader threads do that; for a first look at a codec, or where the latents have no room.
"""

import io
from collections.abc import Sequence

import numpy as np

from curation.blobs import Array
from curation.encode import SoundEncoder, read_frames, read_sound, small_latents
from curation.errors import DatasetError
from curation.shards.batches import Indices
from curation.shards.reader import Shards

STREAMINFO_BYTES = 26
"""How much of a FLAC file says its rate and length. Source: RFC 9639 section 8.2: 4 bytes of marker, 4 of the block's
head, 10 of block and frame sizes, then 64 bits: 20 of rate, 3 of channels, 5 of depth, 36 of samples a channel."""


class RawLatents:
    """Of the clips of a generation, by their number in it. Any thread may read, if the codec allows it.

    Args:
        shards: The generation.
        codec: Makes the latents.
        hop_samples: Samples of one latent frame, at the codec's rate.
        frame_rate_hz: Pictures a second.
        frame_size_px: Their side, px.
        wanted: Numbers of the clips whose lengths are looked up; the others count as having none.
    """

    def __init__(
        self,
        shards: Shards,
        codec: SoundEncoder,
        *,
        hop_samples: int,
        frame_rate_hz: float,
        frame_size_px: int,
        wanted: Sequence[int] | Indices,
    ) -> None:
        self._shards, self._codec = shards, codec
        self._frame_rate_hz, self._frame_size_px = frame_rate_hz, frame_size_px
        self.latent_frames: Indices = np.full(len(shards), -1)
        for clip in np.asarray(wanted).tolist():
            rate_hz, samples = self._length(clip)
            resampled = int(samples * codec.sample_rate_hz / rate_hz + 0.5)
            self.latent_frames[clip] = -(-resampled // hop_samples)

    def _length(self, clip: int) -> tuple[int, int]:
        """Rate, Hz, and samples of a clip's sound, without reading all of it."""
        head = self._shards.read(clip, ("flac",), head_bytes=STREAMINFO_BYTES).get("flac", b"")
        said = int.from_bytes(head[18:26], "big")
        if not head.startswith(b"fLaC") or not said >> 44:
            raise DatasetError(
                f"clip {self._shards.key(clip)} has no FLAC in {self._shards.root}; run `foundsound verify`"
            )
        return said >> 44, said & ((1 << 36) - 1)

    def expect(self, clip: int) -> None:
        """Nothing can be done ahead."""

    def moments(self, clip: int) -> tuple[Array, Array | None]:
        """Means and spreads of a clip's latents, in float16 as they would be stored.

        Raises:
            StoppedError: The codec gave what is not finite.
            ValueError: It gave fewer or more frames than its hop says.
        """
        content = self._shards.read(clip, ("flac",))["flac"]
        wave_CT = read_sound(io.BytesIO(content), self._codec.sample_rate_hz, self._codec.channels)
        mean_FD, std_FD = self._codec.encode(wave_CT)
        key = self._shards.key(clip)
        if len(mean_FD) != self.latent_frames[clip]:
            raise ValueError(f"the codec gave {len(mean_FD)} latent frames of clip {key}, not the number it says")
        return small_latents(mean_FD, key), None if std_FD is None else small_latents(std_FD, key)

    def has_pictures(self, clip: int) -> bool:
        """Not known before the shard is read."""
        return True

    def pictures(self, clip: int, wanted: Indices) -> Array | None:
        """Some of a clip's pictures; None where it has none."""
        content = self._shards.read(clip, ("mp4",)).get("mp4")
        if content is None:
            return None
        frames = read_frames(io.BytesIO(content), self._frame_rate_hz, self._frame_size_px)
        return np.asarray(frames[np.minimum(wanted, len(frames) - 1)]) if len(frames) else None
