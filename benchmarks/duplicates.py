"""Which copies of real sounds the layers of `dedupe` find, and what else they take for one; and what the index saves.

Every recording is changed in one way at a time and decoded to the FLAC that `cut` would write. Recall is the share of
changed recordings that are tied to their original; false pairs are any others, recordings of one source left out. The
peer compares every pair of fingerprints at every offset.

With FOUNDSOUND_REAL_DATA the sounds are ESC-50 and captioned recordings, and with the weights of EfficientAT there the
layer of vectors is measured as well; without, they are made, and say only that the code runs.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import numpy as np
import soundfile

from benchmarks import Measured, best_seconds
from curation.duplicates.chromaprint import fingerprint
from curation.duplicates.matching import Pairs, PrintRule, Prints, Words, same_recordings
from curation.duplicates.vectors import clip_vector, near_pairs
from curation.programs.ffmpeg import ffmpeg_path

RATE_HZ = 48_000
MADE_SOUNDS = 24
COSINES = (0.90, 0.95, 0.97, 0.98, 0.99)

CHANGES: dict[str, tuple[str, list[str], str]] = {
    "flac": ("flac", [], ""),
    "16khz": ("flac", ["-ar", "16000"], ""),
    "gain_-12db": ("flac", [], "volume=-12dB"),
    "mp3_64k": ("mp3", ["-b:a", "64k"], ""),
    "mp3_32k_mono": ("mp3", ["-b:a", "32k", "-ac", "1"], ""),
    "aac_48k": ("m4a", ["-b:a", "48k"], ""),
    "opus_24k": ("ogg", ["-c:a", "libopus", "-b:a", "24k"], ""),
    "shift_50ms": ("flac", [], "atrim=start=0.05"),
    "shift_370ms": ("flac", [], "atrim=start=0.37"),
    "trim_ends": ("flac", [], "atrim=start=0.5:end=4.3"),
    "noise_30db": ("wav", [], "noise"),
    "opus_shift_gain": ("ogg", ["-c:a", "libopus", "-b:a", "24k"], "atrim=start=0.21,volume=-6dB"),
}
"""Name -> file suffix, options of the encoder, and a filter; `noise` is added here, 30 dB below the sound."""


def ffmpeg(*arguments: str) -> None:
    subprocess.run([ffmpeg_path(), "-v", "error", "-nostdin", "-y", "-threads", "1", *arguments], check=True)


def as_cut(source: Path, target: Path) -> Path:
    """The sound of a file as `cut` keeps it: FLAC, 16 bit, 48 kHz."""
    ffmpeg("-i", str(source), "-ar", str(RATE_HZ), "-sample_fmt", "s16", str(target))
    return target


def changed(original: Path, folder: Path, change: str) -> Path:
    suffix, options, audio_filter = CHANGES[change]
    coded = folder / f"{original.stem}-{change}-coded.{suffix}"
    if audio_filter == "noise":
        sound, rate_hz = soundfile.read(original)
        noise = np.random.default_rng(len(sound)).standard_normal(sound.shape)
        level = np.sqrt(np.mean(np.square(sound))) * 10 ** (-30 / 20)
        soundfile.write(coded, np.clip(sound + level * noise, -1, 1), rate_hz)
    else:
        ffmpeg("-i", str(original), *(["-af", audio_filter] if audio_filter else []), *options, str(coded))
    return as_cut(coded, folder / f"{original.stem}-{change}.flac")


def real_folder() -> Path | None:
    folder = Path(os.environ.get("FOUNDSOUND_REAL_DATA", "../shared/data"))
    return folder if (folder / "media" / "sounds").is_dir() else None


def recordings(folder: Path, every: int) -> list[Path]:
    """Real recordings, or made ones: three notes at a time over noise."""
    real = real_folder()
    if real is not None:
        return sorted((real / "media" / "sounds").rglob("*.flac"))[::every]
    files = []
    for n in range(MADE_SOUNDS):
        draw = np.random.default_rng(n)
        time_s = np.arange(RATE_HZ // 4) / RATE_HZ
        notes_hz = 220 * 2 ** (draw.integers(0, 36, size=(20, 3)) / 12)
        sound = np.sin(2 * np.pi * notes_hz[:, :, None] * time_s).sum(axis=1).ravel()
        files.append(folder / f"made-{n}.wav")
        soundfile.write(files[-1], 0.2 * sound + 0.002 * draw.standard_normal(len(sound)), RATE_HZ)
    return files


def source_of(path: Path) -> str:
    """Recordings with the same source may share sound: ESC-50 has several takes of one file."""
    parts = path.stem.split("-")
    return parts[1] if len(parts) > 2 else path.stem


def scored(pairs: Pairs, sources: Sequence[str]) -> tuple[float, int]:
    """Recall and false pairs, of the originals followed by their copies in the same order."""
    count = len(sources)
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    right = {(n, n + count) for n in range(count)}
    false = {pair for pair in found - right if sources[pair[0] % count] != sources[pair[1] % count]}
    return len(found & right) / count, len(false)


def hashes(files: Sequence[Path]) -> list[str]:
    return [sha256(soundfile.read(file, dtype="int16", always_2d=True)[0].tobytes()).hexdigest() for file in files]


def same_samples(sums: Sequence[str]) -> Pairs:
    pairs = np.array([pair for pair in combinations(range(len(sums)), 2) if sums[pair[0]] == sums[pair[1]]], np.int64)
    first, second = pairs.reshape(-1, 2).T
    return Pairs(first, second, np.zeros(len(first)))


def embedder() -> Callable[[Sequence[Path]], np.ndarray] | None:
    """Vectors by EfficientAT, where its weights are."""
    real = real_folder()
    weights = sorted((real / "weights").rglob("*.pt")) if real is not None else []
    if not weights:
        return None
    import soxr

    from pipelines.wiring.taggers import load_tagger

    tagger = load_tagger(str(weights[0]))

    def embed(files: Sequence[Path]) -> np.ndarray:
        vectors = []
        for file in files:
            sound, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
            wave = soxr.resample(sound.mean(axis=1), rate_hz, tagger.sample_rate_hz)
            vectors.append(clip_vector(tagger.tag(wave[None].astype(np.float32))[1]))
        return np.stack(vectors)

    return embed


def exhaustive(prints: Sequence[Words], rule: PrintRule) -> int:
    """The peer: every pair at every offset."""
    found = 0
    for a, b in combinations(prints, 2):
        needed = max(rule.min_words, rule.min_share * min(len(a), len(b)))
        for offset in range(-len(b) + 1, len(a)):
            begin, end = max(offset, 0), min(len(a), offset + len(b))
            if end - begin >= needed:
                wrong = np.bitwise_count(a[begin:end] ^ b[begin - offset : end - offset]).sum()
                if wrong <= rule.max_error * 32 * (end - begin):
                    found += 1
                    break
    return found


def measure(every: int = 2, peer_sounds: int = 60) -> Measured:
    rule = PrintRule()
    numbers: Measured = {}
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2) as threads:
        folder = Path(name)
        files = recordings(folder, every)
        sources = [source_of(file) for file in files]
        originals = list(threads.map(lambda file: as_cut(file, folder / f"{file.stem}-original.flac"), files))
        sums = hashes(originals)
        prints = list(threads.map(fingerprint, originals))
        embed = embedder()
        vectors = embed(originals) if embed else None
        for change in CHANGES:
            copies = list(threads.map(lambda file, change=change: changed(file, folder, change), files))
            pairs = {
                "samples": same_samples([*sums, *hashes(copies)]),
                "print": same_recordings(Prints.of([*prints, *threads.map(fingerprint, copies)]), rule),
            }
            if embed is not None and vectors is not None:
                near = near_pairs(np.concatenate([vectors, embed(copies)]), min(COSINES))
                for cosine in COSINES:
                    keep = near.distance <= 1 - cosine
                    pairs[f"vectors_{cosine:.2f}"] = Pairs(near.first[keep], near.second[keep], near.distance[keep])
            for layer, found in pairs.items():
                recall, false = scored(found, sources)
                numbers[f"{change}_{layer}_recall"] = recall
                numbers[f"{change}_{layer}_false_pairs"] = float(false)
    few = [np.frombuffer(text, "<u4") for text in prints[:peer_sounds]]
    joined = Prints.joined(few)
    index_s, peer_s = best_seconds(lambda: same_recordings(joined, rule), lambda: exhaustive(few, rule), rounds=1)
    return {
        "ratio": peer_s / index_s,
        "peer": "every pair of fingerprints at every offset",
        "sounds": "real" if real_folder() else "made",
        "recordings": float(len(files)),
        "different_pairs": float(sum(a != b for a, b in combinations(sources, 2))),
        **numbers,
    }
