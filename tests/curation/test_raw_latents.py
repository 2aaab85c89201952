"""What is made of shards while training is what would have been stored."""

from pathlib import Path

import numpy as np
import pytest

from curation.errors import ArgumentError
from curation.latents import Extras, Lengths
from curation.samples import Samples, Source
from tests.curation.test_samples import HOP, LENGTHS, VIDEOS, Blocks, made
from tests.curation.test_stored_conditions import FOUR, followed


def raw_of(source: Source, codec: Blocks, lengths: Lengths, extras: Extras | None = None) -> Samples:
    return Samples.open_raw(
        [source], codec=codec, hop_samples=HOP, frame_size_px=32, lengths=lengths, extras=extras
    )  # fmt: skip


def assert_same(some: Samples, others: Samples) -> None:
    plan = some.plan(batch_size=16, seed=5)
    assert plan == others.plan(batch_size=16, seed=5)
    for number in (0, 3):
        one, other = some.batch(plan, number), others.batch(plan, number)
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)
            assert getattr(value, "dtype", None) == getattr(other[name], "dtype", None), name


@pytest.mark.parametrize("spread", [None, 0.5])
def test_batches_are_those_of_stored_latents(tmp_path: Path, spread: float | None) -> None:
    codec = Blocks(spread=spread)
    source = Source(dataset=made(tmp_path, VIDEOS, codec=codec))
    assert_same(Samples.open([source], latents="blocks", lengths=LENGTHS), raw_of(source, codec, LENGTHS))


def test_what_sounded_before_too_and_whatever_the_condition(tmp_path: Path) -> None:
    dataset, _ = followed(tmp_path)
    source, extras = Source(dataset=dataset, where="clips.start_ms > 0"), Extras(before=True)
    stored = Samples.open([source], latents="blocks", lengths=FOUR, extras=extras)
    assert_same(stored, raw_of(source, Blocks(), FOUR, extras))


def test_lengths_are_known_at_another_rate(tmp_path: Path) -> None:
    """800 samples at 8 kHz are 4,410 at 44.1 kHz: 55 whole frames of 80, and a part of one that fills it up."""

    class Fast(Blocks):
        def encode(self, wave_CT: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
            return super().encode(np.pad(wave_CT, ((0, 0), (0, -wave_CT.shape[1] % HOP))))

    codec = Fast(sample_rate_hz=44_100)
    dataset = made(tmp_path, VIDEOS[:2], codec=codec)
    rate_hz = 44_100 / HOP
    samples = raw_of(
        Source(dataset=dataset), codec, Lengths(latent_frames=(56,), latent_rate_hz=rate_hz, frame_rate_hz=50.0)
    )
    assert samples.batch(samples.plan(batch_size=2, seed=0), 0)["latents"].shape == (2, 56, 2)
    with pytest.raises(ArgumentError, match="57 latent frames"):
        raw_of(Source(dataset=dataset), codec, Lengths(latent_frames=(57,), latent_rate_hz=rate_hz, frame_rate_hz=50.0))


def test_a_codec_of_another_hop_is_refused(tmp_path: Path) -> None:
    source = Source(dataset=made(tmp_path, VIDEOS[:1]))
    samples = Samples.open_raw([source], codec=Blocks(), hop_samples=2 * HOP, frame_size_px=32, lengths=LENGTHS)
    with pytest.raises(ValueError, match="gave 10 latent frames of clip"):
        samples.batch(samples.plan(batch_size=1, seed=0), 0)
