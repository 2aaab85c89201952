"""Kaldi's mel bands: how powers at equally spaced frequencies are gathered into bands as wide as the ear's.

Source: Kaldi's `MelBanks`, as torchaudio's `compliance.kaldi.get_mel_banks` and transformers' `mel_filter_bank` with
`mel_scale="kaldi", triangularize_in_mel_space=True` have it; the latter warns of bands between two frequencies, which
the published models were trained with.
"""

import torch
from torch import Tensor


def kaldi_bands(*, n_fft: int, sample_rate_hz: int, mel_bins: int, f_min_hz: float, f_max_hz: float) -> Tensor:
    """Triangles of height 1 on mel = 1127 ln(1 + f / 700), each from its lower neighbour's centre to its upper one's.

    Args:
        n_fft: samples of a transform, even: frequencies are k * rate / n_fft.
        sample_rate_hz: rate, Hz.
        mel_bins: number of bands M, at least 1.
        f_min_hz: lower edge of the lowest band, Hz.
        f_max_hz: upper edge of the highest band, at most half the rate, Hz.

    Returns:
        Weights (n_fft / 2 + 1, M), float64.
    """
    edges = torch.tensor([f_min_hz, f_max_hz], dtype=torch.float64)
    low, high = (1127.0 * torch.log1p(edges / 700.0)).tolist()
    step = (high - low) / (mel_bins + 1)
    frequency_K = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (sample_rate_hz / n_fft)
    centre_M = low + step * torch.arange(1, mel_bins + 1, dtype=torch.float64)
    distance_KM = (1127.0 * torch.log1p(frequency_K / 700.0))[:, None] - centre_M
    return torch.clamp_min(1.0 - distance_KM.abs() / step, 0.0)
