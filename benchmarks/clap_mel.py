"""10 s clips a second through our log-mel, against transformers' NumPy extractor."""

import numpy as np
import torch
from transformers import ClapFeatureExtractor

from benchmarks import Measured, best_seconds
from models.encoders.clap_mel import ClapMel, ClapMelConfig


def measure(clips: int = 8, rounds: int = 7, threads: int = 2, device: str = "cpu") -> Measured:
    torch.set_num_threads(threads)
    config = ClapMelConfig()
    extractor = ClapFeatureExtractor(frequency_min=config.f_min_hz, truncation="rand_trunc", padding=config.padding)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (clips, config.window_samples)).astype(np.float32)
    mel = ClapMel(config).to(device)
    wave_BT = torch.from_numpy(noise).to(device)

    def ours() -> torch.Tensor:
        return torch.as_tensor(mel(wave_BT)).cpu()

    def theirs() -> object:
        return extractor(list(noise), sampling_rate=config.sample_rate_hz, return_tensors="np")

    ours_s, theirs_s = best_seconds(ours, theirs, rounds=rounds)
    return {
        "ratio": theirs_s / ours_s,
        "peer": "transformers.ClapFeatureExtractor on the same cores",
        "clips_a_second": clips / ours_s,
        "peer_clips_a_second": clips / theirs_s,
        "threads": threads,
    }
