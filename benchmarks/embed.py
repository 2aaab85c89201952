"""10 s clips a second through our CLAP path, against the obvious loop: transformers' processor and model, one by one.

The network is ClapModel with the sizes of HTSAT-tiny (27 million parameters in its sound tower) and random weights, the
same object for both, in single precision.
"""

from typing import Any

import numpy as np
import torch
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor

from benchmarks import Measured, best_seconds
from models.encoders.clap import ClapEncoder
from models.encoders.clap_fit import TinyClapConfig, build_tiny_clap
from models.encoders.clap_mel import ClapMelConfig, int16_round_trip
from pipelines.wiring.embedders import ClapEmbedder


def made() -> tuple[ClapModel, Any]:
    """A CLAP of HTSAT-tiny's size whose text tower, which is not timed, is small; and its tokenizer."""
    words = build_tiny_clap(["a dog barks"], TinyClapConfig()).tokenizer
    text = {"vocab_size": len(words), "num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 64}
    torch.manual_seed(0)
    config = ClapConfig(text_config={**text, "num_attention_heads": 1}, audio_config={})
    return ClapModel(config).eval(), words


def measure(clips: int = 16, rounds: int = 3, threads: int = 2, device: str = "cpu") -> Measured:
    torch.set_num_threads(threads)
    model, words = made()
    model.to(device)
    mel = ClapMelConfig()
    embedder = ClapEmbedder(ClapEncoder(model=model, tokenizer=words, mel=mel, weights_sha256="random"))
    extractor = ClapFeatureExtractor(frequency_min=mel.f_min_hz, truncation="rand_trunc", padding=mel.padding)
    processor = ClapProcessor(extractor, words)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (clips, mel.window_samples)).astype(np.float32)
    noise = int16_round_trip(torch.from_numpy(noise)).numpy()

    def ours() -> np.ndarray:
        return embedder.embed_sound(noise)

    @torch.no_grad()
    def theirs() -> np.ndarray:
        vectors = []
        for wave_T in noise:
            inputs = processor(audio=wave_T, sampling_rate=mel.sample_rate_hz, return_tensors="pt").to(device)
            vectors.append(model.get_audio_features(**inputs).pooler_output)
        return torch.cat(vectors).cpu().numpy()

    np.testing.assert_allclose(ours(), theirs(), atol=1e-4)
    ours_s, theirs_s = best_seconds(ours, theirs, rounds=rounds)
    return {
        "ratio": theirs_s / ours_s,
        "peer": "a loop over transformers.ClapProcessor and ClapModel",
        "clips_a_second": clips / ours_s,
        "peer_clips_a_second": clips / theirs_s,
        "threads": threads,
    }
