"""The Audio Spectrogram Transformer (Y. Gong et al. 2021, arXiv 2104.01778) as a frozen, deterministic tagger.

It takes any `ASTForAudioClassification` that transformers loads, as MIT/ast-finetuned-audioset-10-10-0.4593, with the
names of the classes from its configuration. The spectrogram is made here, in batches and on any device: the one of
`ASTFeatureExtractor` differs with whether torchaudio is installed, and takes a sound at a time.

Shapes: B sounds, T samples, F frames, S samples of a frame, M mel bands, L classes, D embedding.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import ASTFeatureExtractor, ASTForAudioClassification

from models.encoders.kaldi_bands import kaldi_bands
from models.weights import safetensors_paths, sha256_of_files

PREPROCESSING_VERSION = 1

WINDOW_S = 10.0
"""AudioSet's clips, on which the published models were trained."""

FRAME_SAMPLES, HOP_SAMPLES, N_FFT = 400, 160, 512
LOWEST_HZ, PREEMPHASIS, POWER_FLOOR = 20.0, 0.97, 1.192092955078125e-07
"""Kaldi's filter bank: 25 ms and 10 ms at 16 kHz; the floor is the smallest step of a float32 at 1.
Source: transformers' `ASTFeatureExtractor`, which equals torchaudio's `compliance.kaldi.fbank`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KaldiMelConfig:
    """Settings of the spectrogram; the defaults are those of the published AudioSet models.

    Attributes:
        sample_rate_hz: rate of the sounds.
        mel_bins: number of mel bands.
        frames: length that every spectrogram is brought to, by frames of value 0 at its end.
        mean, deviation: the logarithm becomes (log - mean) / (2 deviation); 0 and 0.5 leave it as it is.
    """

    sample_rate_hz: int = 16_000
    mel_bins: int = 128
    frames: int = 1024
    mean: float = -4.2677393
    deviation: float = 4.5689974

    def __post_init__(self) -> None:
        if self.sample_rate_hz / 2 <= LOWEST_HZ:
            raise ValueError(f"sample_rate_hz must be above {2 * LOWEST_HZ:g}, got {self.sample_rate_hz}")
        if self.mel_bins < 1 or self.frames < 1:
            raise ValueError(f"mel_bins and frames must be at least 1, got {self.mel_bins} and {self.frames}")
        if self.deviation <= 0:
            raise ValueError(f"deviation must be above 0, got {self.deviation}")

    @property
    def longest_samples(self) -> int:
        """Samples that fill all frames; what is beyond would not be heard."""
        return (self.frames - 1) * HOP_SAMPLES + FRAME_SAMPLES

    @classmethod
    def of_extractor(cls, extractor: ASTFeatureExtractor) -> Self:
        """Reads the settings of transformers' extractor."""
        scaled = {"mean": extractor.mean, "deviation": extractor.std} if extractor.do_normalize else None
        return cls(
            sample_rate_hz=extractor.sampling_rate,
            mel_bins=extractor.num_mel_bins,
            frames=extractor.max_length,
            **(scaled or {"mean": 0.0, "deviation": 0.5}),
        )


class KaldiMel(nn.Module):
    """Waves to log-mel spectrograms. Has no weights to learn, and adds no noise."""

    hann: Tensor
    filters: Tensor

    def __init__(self, config: KaldiMelConfig) -> None:
        super().__init__()
        self.config = config
        filters = kaldi_bands(
            n_fft=N_FFT,
            sample_rate_hz=config.sample_rate_hz,
            mel_bins=config.mel_bins,
            f_min_hz=LOWEST_HZ,
            f_max_hz=config.sample_rate_hz // 2,
        )
        hann = torch.hann_window(FRAME_SAMPLES, periodic=False, dtype=torch.float64)
        self.register_buffer("hann", hann, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, wave_BT: Tensor) -> Tensor:
        """Makes the log-mel of each sound, in double precision as the extractor does.

        Args:
            wave_BT: float32 (B, T), full scale 1, T <= `config.longest_samples`; less than a frame is filled up.

        Returns:
            float32 (B, config.frames, M), normalised.

        Raises:
            ValueError: wrong number of dimensions, or too long.
        """
        longest = self.config.longest_samples
        if wave_BT.ndim != 2 or wave_BT.shape[1] > longest:
            raise ValueError(
                f"AST's log-mel needs mono sounds as (B, T) of at most {longest} samples, got shape "
                f"{tuple(wave_BT.shape)}; cut longer sounds into windows first"
            )
        filled_BT = nn.functional.pad(wave_BT.double(), (0, max(0, FRAME_SAMPLES - wave_BT.shape[1])))
        frame_BFS = filled_BT.unfold(1, FRAME_SAMPLES, HOP_SAMPLES)
        frame_BFS = frame_BFS - frame_BFS.mean(-1, keepdim=True)
        before_BFS = torch.cat([frame_BFS[..., :1], frame_BFS[..., :-1]], dim=-1)
        spectrum = torch.fft.rfft((frame_BFS - PREEMPHASIS * before_BFS) * self.hann, N_FFT)
        mel_BFM = (spectrum.abs().square() @ self.filters).clamp_min(POWER_FLOOR).log()
        padded_BFM = nn.functional.pad(mel_BFM, (0, 0, 0, self.config.frames - mel_BFM.shape[1]))
        return ((padded_BFM - self.config.mean) / (2 * self.config.deviation)).float()


class Ast:
    """A frozen tagger. Make one with `from_pretrained`."""

    def __init__(self, model: ASTForAudioClassification, mel: KaldiMelConfig, *, weights_sha256: str) -> None:
        """Takes the loaded parts.

        Args:
            model: the network; it is put into evaluation mode on the device it is on.
            mel: settings of its spectrogram.
            weights_sha256: hex digest of the files the network came from.

        Raises:
            ValueError: the spectrogram is not of the size the network expects.
        """
        expects = (model.config.max_length, model.config.num_mel_bins)
        if expects != (mel.frames, mel.mel_bins):
            raise ValueError(
                f"the network expects {expects[0]} frames of {expects[1]} bands and its preprocessor_config.json gives "
                f"{mel.frames} of {mel.mel_bins}; get the whole model again"
            )
        self._model = model.eval().requires_grad_(False)
        self._mel = KaldiMel(mel).to(model.device)
        self._weights_sha256 = weights_sha256
        self.labels = tuple(str(model.config.id2label[index]) for index in range(model.config.num_labels))

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, device: str | torch.device = "cpu", revision: str | None = None
    ) -> Self:
        """Loads an AST from a folder written by `save_pretrained` or by its name on the Hub; safetensors only.

        Args:
            name_or_path: for example `MIT/ast-finetuned-audioset-10-10-0.4593`, or a folder.
            device: where it computes.
            revision: branch, tag or commit on the Hub.

        Raises:
            OSError: files are missing.
            ValueError: the weights do not belong to the configuration.
        """
        name = str(name_or_path)
        model, loading = ASTForAudioClassification.from_pretrained(
            name, revision=revision, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        if loading["missing_keys"]:
            missing = sorted(loading["missing_keys"])
            raise ValueError(
                f"the weights of {name} lack {len(missing)} tensors of ASTForAudioClassification, the first is "
                f"{missing[0]}; they would be random, so the tagger is refused: get a checkpoint fine-tuned to classify"
            )
        extractor = ASTFeatureExtractor.from_pretrained(name, revision=revision)
        return cls(
            model.to(device),
            KaldiMelConfig.of_extractor(extractor),
            weights_sha256=sha256_of_files(safetensors_paths(name, revision=revision)),
        )

    @property
    def sample_rate_hz(self) -> int:
        """Rate that it expects."""
        return self._mel.config.sample_rate_hz

    @property
    def window_s(self) -> float:
        """Longest sound at once, s."""
        return min(WINDOW_S, self._mel.config.longest_samples / self.sample_rate_hz)

    @property
    def share_window_s(self) -> float:
        """Length of the windows of which shares are counted, s: the same, since shorter ones cost as much."""
        return self.window_s

    @property
    def dimension(self) -> int:
        """Length of its embeddings."""
        return int(self._model.config.hidden_size)

    def identity(self) -> dict[str, Any]:
        """What determines its answers."""
        return {
            "class": "Ast",
            "weights_sha256": self._weights_sha256,
            "labels": list(self.labels),
            "frames": self._mel.config.frames,
            "scale": [self._mel.config.mean, self._mel.config.deviation],
            "preprocessing": PREPROCESSING_VERSION,
        }

    @torch.inference_mode()
    def forward(self, wave_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Listens to sounds of equal length.

        Args:
            wave_BT: float32 (B, T) at its rate, full scale 1, at most `window_s` long.

        Returns:
            logits (B, L) and embeddings (B, D), the pooled output before the classifier, float32 on its device.

        Raises:
            ValueError: not (B, T), or too long.
        """
        on_device_BT = wave_BT.to(self._model.device)
        # Sound by sound on a CPU: there it is no slower, and the answer does not depend on the company.
        parts = torch.split(on_device_BT, 1) if on_device_BT.device.type == "cpu" else (on_device_BT,)
        vectors = [self._model.audio_spectrogram_transformer(self._mel(part_BT)).pooler_output for part_BT in parts]
        logits = [self._model.classifier(vector_BD) for vector_BD in vectors]
        return torch.cat(logits), torch.cat(vectors)

    def tag(self, wave_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (B, L) in [0, 1], each class by itself as AudioSet asks, and embeddings; see `forward`."""
        logits_BL, vector_BD = self.forward(wave_BT)
        return logits_BL.sigmoid(), vector_BD
