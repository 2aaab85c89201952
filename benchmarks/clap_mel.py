"""How many 10 s clips a second our log-mel makes, and transformers' NumPy one, in the same run on one core."""

import argparse
import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import ClapFeatureExtractor

from models.encoders.clap_mel import ClapMel, ClapMelConfig


def best_seconds(*ways: Callable[[], object], rounds: int) -> list[float]:
    """Shortest time of each way; they take turns, so that what else the machine does meets all of them."""
    for way in ways:
        way()
    best = [float("inf")] * len(ways)
    for _ in range(rounds):
        for number, way in enumerate(ways):
            start = time.perf_counter()
            way()
            best[number] = min(best[number], time.perf_counter() - start)
    return best


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = ClapMelConfig()
    extractor = ClapFeatureExtractor(frequency_min=config.f_min_hz, truncation="rand_trunc", padding=config.padding)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (arguments.clips, config.window_samples)).astype(np.float32)
    mel = ClapMel(config).to(arguments.device)
    wave_BT = torch.from_numpy(noise).to(arguments.device)

    def ours() -> torch.Tensor:
        return torch.as_tensor(mel(wave_BT)).cpu()

    def theirs() -> object:
        return extractor(list(noise), sampling_rate=config.sample_rate_hz, return_tensors="np")

    ours_s, theirs_s = best_seconds(ours, theirs, rounds=arguments.rounds)
    results = {
        "ours_clips_per_s": arguments.clips / ours_s,
        "extractor_clips_per_s": arguments.clips / theirs_s,
        "ratio": theirs_s / ours_s,
        "threads": arguments.threads,
        "device": arguments.device,
    }
    json.dump(results, sys.stdout)
    print()


if __name__ == "__main__":
    main()
