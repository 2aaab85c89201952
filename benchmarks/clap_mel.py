"""10 s clips a second through our log-mel, against transformers' NumPy extractor.

White noise has no quiet band, so that single precision is enough everywhere. The mixtures have some, as recordings do:
one in fifteen of their frames is done in double precision too; of a hundred real sounds it was one in eighteen. The
ratio is the lower of the two.
"""

import numpy as np
import torch
from transformers import ClapFeatureExtractor

from benchmarks import Measured, best_seconds
from models.encoders.clap_mel import ClapMel, ClapMelConfig, int16_round_trip

PEER_AT_ONCE = 8
"""Sounds that the peer is given at once; of 32 it makes half as many a second."""


def white(clips: int, config: ClapMelConfig) -> torch.Tensor:
    """Even noise, (clips, T)."""
    draw = np.random.default_rng(0)
    return torch.from_numpy(draw.uniform(-0.5, 0.5, (clips, config.window_samples)).astype(np.float32))


def mixtures(clips: int, config: ClapMelConfig) -> torch.Tensor:
    """Fading harmonic tones over noise that falls by 3 to 10 dB an octave, as 16-bit samples, (clips, T)."""
    draw = np.random.default_rng(1)
    samples, rate_hz = config.window_samples, config.sample_rate_hz
    time_T = np.arange(samples) / rate_hz
    hz_K = np.fft.rfftfreq(samples, 1 / rate_hz)
    made = np.empty((clips, samples))
    for wave_T, fall_db in zip(made, np.linspace(3, 10, clips), strict=True):
        spectrum_K = np.fft.rfft(draw.standard_normal(samples)) * np.maximum(hz_K, 20.0) ** (-fall_db / 6.02)
        noise_T = np.fft.irfft(spectrum_K, samples)
        wave_T[:] = noise_T * 0.02 / noise_T.std()
        for begin_s in draw.uniform(0, config.window_s, 5):
            hz, after_T = draw.uniform(100, 2_000), np.maximum(time_T - begin_s, 0)
            for harmonic in range(1, 8):
                wave_T += 0.05 / harmonic * np.exp(-3 * after_T) * np.sin(2 * np.pi * hz * harmonic * after_T)
    return int16_round_trip(torch.from_numpy(made.astype(np.float32)))


def measure(clips: int = 32, rounds: int = 5, threads: int = 2, device: str = "cpu") -> Measured:
    torch.set_num_threads(threads)
    config = ClapMelConfig()
    extractor = ClapFeatureExtractor(frequency_min=config.f_min_hz, truncation="rand_trunc", padding=config.padding)
    mel = ClapMel(config).to(device)
    result: Measured = {}
    for name, wave_BT in (("white", white(clips, config)), ("mixtures", mixtures(clips, config))):
        here_BT, theirs = wave_BT.to(device), list(wave_BT.numpy())

        def ours(here_BT: torch.Tensor = here_BT) -> torch.Tensor:
            return torch.as_tensor(mel(here_BT)).cpu()

        def peer(theirs: list[np.ndarray] = theirs) -> None:
            for first in range(0, clips, PEER_AT_ONCE):
                few = theirs[first : first + PEER_AT_ONCE]
                extractor(few, sampling_rate=config.sample_rate_hz, return_tensors="np")

        ours_s, peer_s = best_seconds(ours, peer, rounds=rounds)
        result[f"{name}_ratio"] = peer_s / ours_s
        result[f"{name}_clips_a_second"] = clips / ours_s
        result[f"{name}_peer_clips_a_second"] = clips / peer_s
    lower = min(("white", "mixtures"), key=lambda name: result[f"{name}_ratio"])
    return {
        "ratio": result[f"{lower}_ratio"],
        "peer": "transformers.ClapFeatureExtractor on the same cores",
        "clips_a_second": result[f"{lower}_clips_a_second"],
        "peer_clips_a_second": result[f"{lower}_peer_clips_a_second"],
        **result,
        "threads": threads,
    }
