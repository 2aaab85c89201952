"""Clips a second through an audio-language model in process, in batches, against the same model one clip at a time.

The model is a random Qwen2-Audio of at least 40 M parameters: real class, processor, tokenizer and chat template. The
sounds are real ones of 1 to 30 s where FOUNDSOUND_REAL_DATA has them; those of about one length go together, as in the
stage `caption`. In float32 every answer must be the same in both ways; where one differs there is no result.

What a batch cannot save is the encoder, which hears 30 s of every clip, and the reading of the prompt: there the
processor is busy already. What it saves is reading all weights once a word and clip.
"""

import tempfile
import time
from pathlib import Path

import torch

from benchmarks import Measured
from benchmarks._audio_language import save_random_model, with_endings
from benchmarks._made_clips import HEARD_HZ, Wave, sounds_of_many_lengths
from captioning.captioner import Sound
from captioning.in_process.audio_language import AudioLanguageModel, identity_of
from captioning.in_process.families import family_of
from captioning.in_process.loading import Placement, load_model, load_processor
from captioning.in_process.pretrained import Pretrained
from captioning.prompt import load_prompt
from curation.errors import ClipError

SIZES = {"cpu": (640, 8), "cuda": (2048, 24)}
"""Width and depth of the language model: 44 M parameters in all, and 1.2 B for a GPU."""


def as_sounds(waves: list[Wave]) -> list[Sound]:
    return [Sound(key=f"clip-{n}", wave_T=wave_T, sample_rate_hz=HEARD_HZ) for n, wave_T in enumerate(waves)]


def load(folder: Path, device: str) -> AudioLanguageModel:
    """The captioner as the stage loads it, but for where its answers end."""
    source = Pretrained.find(folder)
    family = family_of(source.model_type(), str(folder))
    model = load_model(source, family, Placement(device=device, dtype="float32"))
    return AudioLanguageModel(
        family=family,
        model=with_endings(model),
        processor=load_processor(source, family, model.config, sees=False),
        identity=identity_of(source, dtype="float32"),
    )


def in_batches(captioner: AudioLanguageModel, sounds: list[Sound], batch: int) -> list[str | ClipError]:
    """Answers in the order of the sounds, which are asked about shortest first, so many at once."""
    prompt = load_prompt("sound-v1")
    order = sorted(range(len(sounds)), key=lambda n: 0 if sounds[n].wave_T is None else len(sounds[n].wave_T))
    answers: dict[int, str | ClipError] = {}
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        answers |= zip(places, captioner.caption([sounds[n] for n in places], prompt), strict=True)
    return [answers[n] for n in range(len(sounds))]


def measure(clips: int = 64, batch: int = 8, size: tuple[int, int] | None = None, rounds: int = 1) -> Measured:
    """With a model of this width and depth, or of `SIZES` for the device that there is."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    hidden, layers = size or SIZES[device]
    waves, kind = sounds_of_many_lengths(clips)
    with tempfile.TemporaryDirectory() as folder:
        parameters = save_random_model(Path(folder) / "model", hidden=hidden, layers=layers)
        captioner = load(Path(folder) / "model", device)
        sounds = as_sounds(waves)
        in_batches(captioner, sounds[:2], 2)
        seconds: dict[int, float] = {}
        processor_s: dict[int, float] = {}
        answers: dict[int, list[str | ClipError]] = {}
        for _ in range(rounds):
            for at_once in (batch, 1):
                begun, used = time.perf_counter(), time.process_time()
                answers[at_once] = in_batches(captioner, sounds, at_once)
                seconds[at_once] = min(seconds.get(at_once, float("inf")), time.perf_counter() - begun)
                processor_s[at_once] = min(processor_s.get(at_once, float("inf")), time.process_time() - used)
    differing = [n for n in range(clips) if str(answers[batch][n]) != str(answers[1][n])]
    if differing:
        n = differing[0]
        raise RuntimeError(
            f"{len(differing)} of {clips} answers differ in a batch; clip {n}: {answers[batch][n]!r}, {answers[1][n]!r}"
        )
    said = [answer for answer in answers[1] if isinstance(answer, str)]
    return {
        "ratio": seconds[1] / seconds[batch],
        "peer": f"the same model one clip at a time, {device}, float32",
        "clips_a_second": clips / seconds[batch],
        "peer_clips_a_second": clips / seconds[1],
        "ratio_of_processor_time": processor_s[1] / processor_s[batch],
        "clips": clips,
        "batch": batch,
        "parameters": parameters,
        "sounds": kind,
        "sound_s": sum(map(len, waves)) / HEARD_HZ,
        "usable_answers": len(said),
        "different_answers": len(set(map(str, answers[1]))),
        "threads": torch.get_num_threads(),
    }
