"""A listener of arithmetic: what it hears of a tone is known, and it counts what it is asked. And tones to hear."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from curation.measure import Measure
from curation.selections.selection import select
from pipelines.runner import Job, run
from pipelines.verbs.pack import pack
from pipelines.wiring.listeners import Listener
from tests.retrieval_index.tones import tone_dataset
from tests.retrieval_index.toy_embedder import tone

RATE_HZ = 8_000
CLASSES_HZ = (220.0, 440.0, 880.0, 1760.0)
COPIES = 6
NAMES = {f"{pitch:g}-{copy}": pitch for pitch in CLASSES_HZ for copy in range(COPIES)}


def packed_tones(folder: Path, seconds: float = 0.5) -> Path:
    """24 tones, six of each pitch, each a little louder than the one before; the caption is the pitch."""
    tones = {name: tone(pitch, seconds, RATE_HZ) * (0.7 + 0.01 * n) for n, (name, pitch) in enumerate(NAMES.items())}
    dataset = tone_dataset(folder, tones, {name: str(pitch) for name, pitch in NAMES.items()})
    stage = Measure(media=dataset.media)
    run(dataset, Job(stage=stage, queue=lambda: dataset.pending(stage), batch_rows=32, workers=0))
    select(dataset, name="train")
    pack(folder, selection="train", workers=1)
    return folder


class Ears:
    """Hears loudness and pitch; its classes are four pitches. Texts are pitches in Hz as numbers."""

    def __init__(self, weights: str = "a", stop_after: int | None = None) -> None:
        self.heard = 0
        self.stop_after = stop_after
        self.weights = weights

    def listener(self) -> Listener:
        """It, as evaluations take it."""
        return Listener(
            kind="clap",
            name="ears",
            sample_rate_hz=RATE_HZ,
            window_s=1.0,
            features="of loudness and pitch",
            identity={"class": "Ears", "weights_sha256": self.weights * 64},
            listen=self.listen,
            embed_text=self.embed_text,
        )

    def listen(self, wave_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, 1, 3): cosine and sine of the pitch, and loudness; logits (B, 4)."""
        self.heard += len(wave_BT)
        if self.stop_after is not None and self.heard > self.stop_after:
            raise KeyboardInterrupt
        power_BK = torch.fft.rfft(wave_BT).abs().square() + 1e-6
        pitch_B = power_BK.argmax(1) * (RATE_HZ / wave_BT.shape[1])
        octave_B = torch.log2(pitch_B.clamp_min(55.0) / 55.0)
        loud_B = wave_BT.square().mean(1).sqrt()
        features = torch.stack([torch.cos(octave_B / 4), torch.sin(octave_B / 4), loud_B], dim=1)[:, None]
        return features, -(octave_B[:, None] - torch.log2(torch.tensor(CLASSES_HZ) / 55.0)).square()

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """The same of the pitch that a text names, at the loudness of a full sine of a half."""
        octaves = np.log2([float(text) / 55.0 for text in texts])
        loud = np.full(len(texts), 0.5 / np.sqrt(2))
        return np.stack([np.cos(octaves / 4), np.sin(octaves / 4), loud], axis=1).astype(np.float32)
