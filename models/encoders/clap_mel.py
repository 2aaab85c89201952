"""CLAP's log-mel spectrogram in torch, in batches, on any device.

It equals transformers' `ClapFeatureExtractor` for sounds up to one window. It does not cut long sounds: the extractor
takes a random part of them, which would make an embedding depend on chance.

Shapes: B sounds, T samples, F frames, N samples of a frame, K bins of its spectrum, M mel bands.
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from threading import Barrier
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

MelScale = Literal["slaney", "htk"]
Padding = Literal["repeatpad", "repeat", "pad"]

# Source: `power_to_db` and `mel_floor` in transformers.audio_utils, -100 dB.
POWER_FLOOR = 1e-10
# Source: laion-clap's `float32_to_int16`; full scale of a signed 16-bit sample.
INT16_FULL_SCALE = 32_767.0
# Ours, measured on a CPU: half a sound of 10 s. Fewer leave more of the time to the interpreter, for which threads wait
# in turn; more leave the processor's cache.
FRAMES_AT_ONCE_CPU = 501
# Ours: so many groups of neighbouring bins are multiplied by the filters that hear them, rather than all bins by all
# filters, most of which are zero; more groups are too small to be multiplied quickly.
BIN_GROUPS = 5
# Ours, by measuring: where every band has at least this share of the mean power of a bin, single precision is within
# 1e-3 dB. Its transform errs by 1.2e-7 of the root of that mean, which is much beside a band that is 70 dB below it.
SINGLE_PRECISION_SHARE = 1e-5
# Ours: a GPU wants many; 16 sounds of 10 s take 400 MB.
SOUNDS_AT_ONCE_GPU = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class ClapMelConfig:
    """Settings of the log-mel; the defaults are those of laion-clap's own models without fusion.

    Attributes:
        sample_rate_hz: rate of the sounds.
        window_s: length every sound is brought to.
        n_fft: samples of one Hann window and of its transform, even.
        hop_samples: samples between frames.
        mel_bins: number of mel bands.
        f_min_hz: lower edge of the lowest band.
        f_max_hz: upper edge of the highest band, at most half the rate.
        mel_scale: `slaney` for area-normalised bands (truncation `rand_trunc`), `htk` for plain ones (`fusion`).
        padding: what fills a short sound up to the window: whole repeats then zeros (`repeatpad`), repeats cut
            at the end (`repeat`), zeros (`pad`).
    """

    sample_rate_hz: int = 48_000
    window_s: float = 10.0
    n_fft: int = 1024
    hop_samples: int = 480
    mel_bins: int = 64
    f_min_hz: float = 50.0
    f_max_hz: float = 14_000.0
    mel_scale: MelScale = "slaney"
    padding: Padding = "repeatpad"

    def __post_init__(self) -> None:
        if self.sample_rate_hz < 1:
            raise ValueError(f"sample_rate_hz must be at least 1, got {self.sample_rate_hz}")
        if self.n_fft < 2 or self.n_fft % 2:
            raise ValueError(f"n_fft must be even and at least 2, got {self.n_fft}")
        if self.hop_samples < 1:
            raise ValueError(f"hop_samples must be at least 1, got {self.hop_samples}")
        if self.mel_bins < 1:
            raise ValueError(f"mel_bins must be at least 1, got {self.mel_bins}")
        if not self.n_fft < self.window_s * self.sample_rate_hz <= 3600 * self.sample_rate_hz:
            raise ValueError(
                f"window_s must be longer than one transform of {self.n_fft} samples and at most 3600 s, "
                f"got {self.window_s}"
            )
        if not 0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"bands need 0 <= f_min_hz < f_max_hz <= {self.sample_rate_hz / 2} Hz, "
                f"got {self.f_min_hz} and {self.f_max_hz}"
            )
        if self.mel_scale not in get_args(MelScale):
            raise ValueError(f"mel_scale must be one of {get_args(MelScale)}, got {self.mel_scale!r}")
        if self.padding not in get_args(Padding):
            raise ValueError(f"padding must be one of {get_args(Padding)}, got {self.padding!r}")

    @property
    def window_samples(self) -> int:
        """Samples of one window."""
        return round(self.window_s * self.sample_rate_hz)

    @property
    def frames(self) -> int:
        """Frames of one window; frames are centred, so there is one at either end."""
        return self.window_samples // self.hop_samples + 1

    @classmethod
    def from_extractor(cls, extractor: Mapping[str, Any]) -> "ClapMelConfig":
        """Reads the settings of a `ClapFeatureExtractor`, as its `to_dict()` or `preprocessor_config.json` gives them.

        Raises:
            ValueError: a setting is missing or out of range.
        """
        names = ("sampling_rate", "max_length_s", "fft_window_size", "hop_length", "feature_size")
        missing = [name for name in (*names, "frequency_min", "frequency_max", "truncation") if name not in extractor]
        if missing:
            raise ValueError(
                f"the feature extractor's settings lack {', '.join(missing)}; is it a ClapFeatureExtractor? "
                "load it with ClapFeatureExtractor.from_pretrained(...).to_dict()"
            )
        return cls(
            sample_rate_hz=extractor["sampling_rate"],
            window_s=float(extractor["max_length_s"]),
            n_fft=extractor["fft_window_size"],
            hop_samples=extractor["hop_length"],
            mel_bins=extractor["feature_size"],
            f_min_hz=float(extractor["frequency_min"]),
            f_max_hz=float(extractor["frequency_max"]),
            # Source: ClapFeatureExtractor._get_input_mel picks the filters by the truncation.
            mel_scale="htk" if extractor["truncation"] == "fusion" else "slaney",
            padding=extractor.get("padding", "repeatpad"),
        )


def _alone() -> None:
    """Has what this thread computes divided among no others."""
    torch.get_num_threads()  # a thread's first question gives it the number of the process, which would undo the next
    torch.set_num_threads(1)


@cache
def _threads(process: int, count: int) -> ThreadPoolExecutor:
    """Threads that each compute by themselves; kept, since to start them takes as long as to listen to a sound.

    Args:
        process: Id of this process: a forked one has none of its parent's threads.
        count: How many.
    """
    all_there = Barrier(count)
    pool = ThreadPoolExecutor(count, initializer=_alone)
    list(pool.map(lambda _: all_there.wait(), range(count)))
    return pool


@contextmanager
def _side_by_side(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that each compute by themselves, and the number of threads as it was when they are done.

    MKL's transforms go by the number that was set last in any thread: two threads would each divide theirs in two. A
    thread of the caller's own whose first use of torch falls in this time keeps to one.
    """
    allowed, pool = torch.get_num_threads(), _threads(os.getpid(), count)
    torch.set_num_threads(1)
    try:
        yield pool
    finally:
        torch.set_num_threads(allowed)


class ClapMel(nn.Module):
    """Waves to decibel log-mel spectrograms. Has no weights to learn.

    The extractor's transform runs in double precision. In single precision, three times as fast, rounding lifts the
    quiet bands of a pure tone above the floor by several dB, and leaves most of real sound as it is. So on a CPU single
    precision comes first, and frames in which some band is too quiet for it are done again in double precision; a GPU
    does all in double.
    """

    hann: Tensor
    filters: Tensor

    def __init__(self, config: ClapMelConfig) -> None:
        super().__init__()
        self.config = config
        filters = mel_filter_bank(
            num_frequency_bins=config.n_fft // 2 + 1,
            num_mel_filters=config.mel_bins,
            min_frequency=config.f_min_hz,
            max_frequency=config.f_max_hz,
            sampling_rate=config.sample_rate_hz,
            norm="slaney" if config.mel_scale == "slaney" else None,
            mel_scale=config.mel_scale,
        )
        hann = torch.hann_window(config.n_fft, periodic=True, dtype=torch.float64)
        self.register_buffer("hann", hann, persistent=False)
        self.register_buffer("filters", torch.from_numpy(np.asarray(filters, dtype=np.float32)), persistent=False)
        heard = self.filters.sum(dim=1).nonzero().flatten().tolist() or [0]
        self._heard = slice(heard[0], heard[-1] + 1)
        self._on_cpu = _OnCpu(config, self.hann, self.filters, self._heard)

    def forward(self, wave_BT: Tensor) -> Tensor:
        """Makes the log-mel of each sound.

        Args:
            wave_BT: float32 (B, T), full scale 1, 1 <= T <= `config.window_samples`.

        Returns:
            float32 (B, F, M), dB relative to 1, at least -100.

        Raises:
            ValueError: wrong number of dimensions, no samples, or longer than the window.
        """
        filled_BT = self.fill_window(wave_BT.float())
        if filled_BT.device.type != "cpu":
            parts_BT = torch.split(filled_BT, SOUNDS_AT_ONCE_GPU)
            return torch.cat([self._power(self._frames(part_BT)) for part_BT in parts_BT]).log10_().mul_(10.0)
        mel_BFM = torch.empty(len(filled_BT), self.config.frames, self.config.mel_bins)
        threads = min(torch.get_num_threads(), len(filled_BT))
        if threads == 1:
            list(map(self._fill, mel_BFM, filled_BT))
        else:  # one sound's operations are too short to be divided among threads each; whole sounds are not
            with _side_by_side(threads) as pool:
                list(pool.map(self._fill, mel_BFM, filled_BT))
        return mel_BFM

    def fill_window(self, wave_BT: Tensor) -> Tensor:
        """Brings sounds to the window's length by the configured padding; see `forward` for arguments and errors."""
        if wave_BT.ndim != 2 or wave_BT.shape[0] < 1:
            raise ValueError(f"CLAP's log-mel needs mono sounds as (B, T), got shape {tuple(wave_BT.shape)}")
        window, length = self.config.window_samples, wave_BT.shape[1]
        if not 1 <= length <= window:
            raise ValueError(
                f"CLAP's log-mel needs 1 to {window} samples ({self.config.window_s:g} s), got {length}; "
                "cut longer sounds into windows first"
            )
        if self.config.padding == "repeatpad":
            repeats = window // length
            wave_BT = wave_BT.repeat(1, repeats) if repeats > 1 else wave_BT
        elif self.config.padding == "repeat":
            wave_BT = wave_BT.repeat(1, window // length + 1)[:, :window]
        return nn.functional.pad(wave_BT, (0, window - wave_BT.shape[1])) if wave_BT.shape[1] < window else wave_BT

    @torch.no_grad()
    def _fill(self, mel_FM: Tensor, wave_T: Tensor) -> None:
        """Writes the log-mel of a sound into its place."""
        torch.log10(self._on_cpu.power(wave_T).mT, out=mel_FM).mul_(10.0)

    def _frames(self, wave_BT: Tensor) -> Tensor:
        """The windows of each sound as views (B, F, N) of double precision; the first one is centred on its start."""
        half = self.config.n_fft // 2
        padded_BT = nn.functional.pad(wave_BT.double()[:, None], (half, half), mode="reflect")[:, 0]
        return padded_BT.unfold(1, self.config.n_fft, self.config.hop_samples)

    def _power(self, frames_N: Tensor) -> Tensor:
        """Windows (..., N), double precision, to the power of each band (..., M), at least the floor."""
        spectrum_K = torch.fft.rfft(frames_N * self.hann)[..., self._heard]
        power_K = spectrum_K.real.square().add_(spectrum_K.imag.square()).float()
        return torch.matmul(power_K, self.filters[self._heard]).clamp_min_(POWER_FLOOR)


class _OnCpu:
    """The power of each band on a CPU: in single precision, and in double where that is too coarse.

    The squares of a bin's real and imaginary part are not added but heard by one filter each: they lie beside each
    other, and adding them would take longer.
    """

    def __init__(self, config: ClapMelConfig, hann_N: Tensor, filters_KM: Tensor, heard: slice) -> None:
        self._hop, self._bands = config.hop_samples, filters_KM.shape[1]
        self._hann_N, self._single_hann_N = hann_N, hann_N.float()
        # Frames within a sound are views of it; those at its edges are gathered, as reflection pads it.
        first_F, last = torch.arange(config.frames) * config.hop_samples - config.n_fft // 2, config.window_samples - 1
        is_edge_F = (first_F < 0) | (first_F + config.n_fft > config.window_samples)
        self._edges_E, self._inside = is_edge_F.nonzero().flatten(), (~is_edge_F).nonzero().flatten().tolist()
        samples_EN = (first_F[self._edges_E, None] + torch.arange(config.n_fft)).abs()
        self._edge_samples_EN = last - (last - samples_EN).abs()
        # A band whose power is P has bins of P over its filter's peak, or more; one that hears none asks for nothing.
        self._scale_M1 = 1.0 / (SINGLE_PRECISION_SHARE * filters_KM.amax(dim=0))[:, None]
        self._groups: list[tuple[slice, slice, Tensor]] = []
        edges = np.linspace(heard.start, heard.stop, BIN_GROUPS + 1).astype(int)
        for first, stop in pairwise(edges.tolist()):
            filters = filters_KM[first:stop]
            bands = filters.sum(dim=0).nonzero().flatten().tolist()
            if bands:
                hears = slice(bands[0], bands[-1] + 1)
                twice = filters[:, hears].repeat_interleave(2, dim=0).mT.contiguous()
                self._groups.append((slice(2 * first, 2 * stop), hears, twice))

    def power(self, wave_T: Tensor) -> Tensor:
        """The power of each band (M, F), at least the floor; the first frame is centred on the start of the sound."""
        power_MF = torch.zeros(self._bands, len(self._edges_E) + len(self._inside))
        power_MF[:, self._edges_E] = self._exact(wave_T[self._edge_samples_EN])
        if self._inside:
            first, n_fft = self._inside[0], len(self._hann_N)
            frames_FN = wave_T[first * self._hop - n_fft // 2 :].unfold(0, n_fft, self._hop)[: len(self._inside)]
            self._fill(power_MF[:, first : first + len(self._inside)], frames_FN)
        return power_MF

    def _fill(self, power_MF: Tensor, frames_FN: Tensor) -> None:
        """Adds the power of windows that are not weighted yet, and raises it to the floor."""
        mean_F = torch.empty(len(frames_FN))
        for first in range(0, len(frames_FN), FRAMES_AT_ONCE_CPU):
            piece = slice(first, first + FRAMES_AT_ONCE_CPU)
            spectrum_FK = torch.fft.rfft(frames_FN[piece] * self._single_hann_N)
            squares_FK = spectrum_FK.view(torch.float32).square_()
            torch.mean(squares_FK, dim=1, out=mean_F[piece])
            self._add(power_MF[:, piece], squares_FK)
        mean_F *= 2  # of bins, that is of the squares of two parts each
        quietest_F = (power_MF.clamp_min_(POWER_FLOOR) * self._scale_M1).amin(dim=0)
        coarse_F = (quietest_F < mean_F).nonzero().flatten()
        for first in range(0, len(coarse_F), FRAMES_AT_ONCE_CPU):
            again = coarse_F[first : first + FRAMES_AT_ONCE_CPU]
            power_MF[:, again] = self._exact(frames_FN.index_select(0, again))

    def _exact(self, frames_FN: Tensor) -> Tensor:
        """The same of frames in double precision, (M, F)."""
        power_MF = torch.zeros(self._bands, len(frames_FN))
        spectrum_FK = torch.fft.rfft(frames_FN.double().mul_(self._hann_N))
        self._add(power_MF, spectrum_FK.view(torch.float64).square_().float())
        return power_MF.clamp_min_(POWER_FLOOR)

    def _add(self, power_MF: Tensor, squares_FK: Tensor) -> None:
        """Adds what each band hears of the squares of real and imaginary parts, side by side."""
        for parts, bands, filters in self._groups:
            power_MF[bands].addmm_(filters, squares_FK[:, parts].mT)


def int16_round_trip(wave: Tensor) -> Tensor:
    """Quantises sound to 16-bit samples and back, as laion-clap did before it trained and as its results expect.

    Args:
        wave: float32, any shape; beyond full scale 1 it clips.

    Returns:
        float32, same shape, multiples of 1 / 32767, rounded toward zero.

    Source: laion-clap 1.1.7, `float32_to_int16` and `int16_to_float32`.
    """
    return wave.clamp(-1.0, 1.0).mul_(INT16_FULL_SCALE).trunc_().div_(INT16_FULL_SCALE)
