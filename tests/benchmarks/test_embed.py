"""The benchmark of embedding gives both sides, and both sides give the same vectors."""

import pytest
import torch

from benchmarks import clap_mel, embed


@pytest.mark.slow
def test_both_sides_embed_and_agree() -> None:
    threads = torch.get_num_threads()
    try:
        measured = [clap_mel.measure(clips=2, rounds=1, threads=1), embed.measure(clips=2, rounds=1, threads=1)]
    finally:
        torch.set_num_threads(threads)
    for one in measured:
        ratio = float(one["clips_a_second"]) / float(one["peer_clips_a_second"])
        assert float(one["ratio"]) == pytest.approx(ratio)
