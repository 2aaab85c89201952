"""The closed-form codec of mel spectrograms: averages of a log-mel, and noise of that colour for the way back.

It is for systems that make mel latents, where no autoencoder and no vocoder were trained: nothing in it is fitted, and
a second is some hundred numbers. What sounds like noise comes back as it was but for what happens within a frame; a
tone comes back as a band of noise.

Shapes: B sounds, T samples, F latent frames, D latent bins of frequency, M mel bands, K bins of a transform, N its
frames.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models.codecs.closed_form import CONFIG_FILE
from models.codecs.mel import LogMel, LogMelConfig

FORMAT = "mel-noise 1"
_REFERENCE_S = 8.0
"""Of the noise by which levels are gauged. Ours: its mean log-mel is then within 0.03 of that of twice as much."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MelNoiseConfig:
    """Shape of the latents. All numbers are ours.

    Attributes:
        sample_rate_hz: Of the sounds.
        mel_bins: Bands of the log-mel.
        frames: Frames of the log-mel (10 ms at 16 kHz) of which one latent frame is the mean.
        bands: Bands of the log-mel of which one latent bin is the mean; divides them.
        floor: Least value of the log-mel, natural logarithm: what is below it is silence. -8 is noise of -71 dBFS.
    """

    sample_rate_hz: int = 16_000
    mel_bins: int = 64
    frames: int = 16
    bands: int = 4
    floor: float = -8.0

    def __post_init__(self) -> None:
        if self.frames < 4:
            raise ValueError(f"frames is {self.frames}: it must be at least 4, as long as the log-mel's window")
        if self.bands < 1 or self.mel_bins % self.bands:
            raise ValueError(f"bands is {self.bands}: it must divide the {self.mel_bins} bands of the log-mel")

    @property
    def mel(self) -> LogMelConfig:
        """Settings of the log-mel."""
        return LogMelConfig(
            sample_rate_hz=self.sample_rate_hz, mel_bins=self.mel_bins, f_max_hz=min(8_000.0, self.sample_rate_hz / 2)
        )


class MelNoise(nn.Module):
    """The codec. It has no weights."""

    reference_M: Tensor
    nearest_K: Tensor
    hann: Tensor

    def __init__(self, config: MelNoiseConfig) -> None:
        super().__init__()
        self.config = config
        self.mel = LogMel(config.mel)
        samples = round(_REFERENCE_S * config.sample_rate_hz) // config.mel.hop_samples * config.mel.hop_samples
        self.register_buffer("reference_M", self.mel(_noise(samples)[None])[0].mean(0), persistent=False)
        # Band by band a bin of the transform belongs to the one whose filter is highest there.
        self.register_buffer("nearest_K", _nearest_band(self.mel.filters), persistent=False)
        self.register_buffer("hann", torch.hann_window(config.mel.n_fft), persistent=False)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str | torch.device = "cpu") -> "MelNoise":
        """Loads what `save` wrote.

        Raises:
            FileNotFoundError: The folder lacks the file.
            ValueError: It is of another format.
        """
        fields = json.loads((Path(folder) / CONFIG_FILE).read_text(encoding="utf-8"))
        if (written := fields.pop("format", None)) != FORMAT:
            raise ValueError(f"{Path(folder) / CONFIG_FILE} has format {written!r}, expected {FORMAT!r}; save it anew")
        return cls(MelNoiseConfig(**fields)).to(device)

    def save(self, folder: str | Path) -> Path:
        """Writes `codec.json` into the folder, made if need be, and returns it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, **asdict(self.config)}, indent=2, sort_keys=True)
        (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
        return folder

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sounds."""
        return self.config.sample_rate_hz

    @property
    def channels(self) -> int:
        """Channels of the sounds: 1."""
        return 1

    @property
    def hop_samples(self) -> int:
        """Samples of one latent frame."""
        return self.mel.config.hop_samples * self.config.frames

    @property
    def latent_bins(self) -> int:
        """Bins of frequency, D."""
        return self.config.mel_bins // self.config.bands

    @property
    def latent_channels(self) -> int:
        """Numbers of a latent frame: one a bin."""
        return self.latent_bins

    @property
    def latent_rate_hz(self) -> float:
        """Latent frames a second."""
        return self.sample_rate_hz / self.hop_samples

    def encode(self, wave_BCT: Tensor) -> Tensor:
        """Turns sounds into latents.

        Args:
            wave_BCT: Float32 (B, 1, T), T at least 1; an unfinished last frame is filled with zeros.

        Returns:
            float32 (B, F, D), F = T / hop rounded up: means of natural logarithms.

        Raises:
            ValueError: Wrong shape.
        """
        if wave_BCT.ndim != 3 or wave_BCT.shape[1] != 1 or wave_BCT.shape[2] < 1:
            raise ValueError(f"encode needs sounds as (B, 1, T), got {tuple(wave_BCT.shape)}")
        filled_BT = nn.functional.pad(wave_BCT[:, 0], (0, -wave_BCT.shape[2] % self.hop_samples))
        mel_BNM = self.mel(filled_BT).clamp_min(self.config.floor)
        return nn.functional.avg_pool2d(mel_BNM[:, None], (self.config.frames, self.config.bands))[:, 0]

    def encode_moments(self, wave_BCT: Tensor) -> tuple[Tensor, None]:
        """The latents as `encode` gives them; they are certain."""
        return self.encode(wave_BCT), None

    def decode(self, latents_BFD: Tensor) -> Tensor:
        """Turns latents into noise whose log-mel has these averages; the noise is the same for every sound.

        Args:
            latents_BFD: Float32 (B, F, D), F at least 1.

        Returns:
            float32 (B, 1, F x hop); full scale is 1, values beyond are not cut.

        Raises:
            ValueError: Wrong shape.
        """
        if latents_BFD.ndim != 3 or latents_BFD.shape[2] != self.latent_channels or latents_BFD.shape[1] < 1:
            raise ValueError(f"decode needs latents as (B, F, {self.latent_channels}), got {tuple(latents_BFD.shape)}")
        n_fft, hop = self.mel.config.n_fft, self.mel.config.hop_samples
        samples = latents_BFD.shape[1] * self.hop_samples
        noise_KN = torch.stft(
            _noise(samples).to(self.hann.device), n_fft, hop, window=self.hann, center=True, return_complex=True
        )
        log_gain_BFM = latents_BFD.repeat_interleave(self.config.bands, dim=2) - self.reference_M
        log_gain_BFM = log_gain_BFM.masked_fill(log_gain_BFM <= self.config.floor - self.reference_M, -torch.inf)
        frame_N = (torch.arange(noise_KN.shape[1], device=self.hann.device) // self.config.frames).clamp_max(
            latents_BFD.shape[1] - 1
        )
        gain_BKN = log_gain_BFM.exp()[:, frame_N][:, :, self.nearest_K].transpose(1, 2)
        wave_BT = torch.istft(gain_BKN * noise_KN, n_fft, hop, window=self.hann, center=True, length=samples)
        return wave_BT[:, None]

    def identity(self) -> dict[str, str]:
        """What decides the latents: equal identities give equal latents on one machine."""
        settings = {name: str(value) for name, value in asdict(self.config).items()}
        return {"class": type(self).__name__, "format": FORMAT, **settings}


def _noise(samples: int) -> Tensor:
    """White noise of variance 1, (samples,) float32; always the same."""
    return torch.randn(samples, generator=torch.Generator().manual_seed(0))


def _nearest_band(filters_KM: Tensor) -> Tensor:
    """The band of each bin of the transform, (K,) int64; bins outside of all bands belong to the first or the last."""
    highest_K, band_K = (filters_KM / filters_KM.max(dim=0).values).max(dim=1)
    inside_K = highest_K > 0
    first, last = int(inside_K.nonzero()[0]), int(inside_K.nonzero()[-1])
    band_K[:first], band_K[last + 1 :] = band_K[first].clone(), band_K[last].clone()
    return band_K
