"""Spoken digits: voices apart, recordings of one shape, a judge that tells them, and the whole at its least."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.evidence import spoken_digits
from benchmarks.evidence.digit_judge import DigitJudge, levelled, mels_of, waves_of
from benchmarks.evidence.speech import PLAN, WHO, speech_table
from benchmarks.evidence.spoken_digits import (
    CLIP_S,
    DIGITS,
    LEAD_S,
    PEAK,
    RATE_HZ,
    VARIANTS,
    Utterance,
    utterances,
    wave_of,
    write_recordings,
)
from curation.programs.espeak import INSTALL, Manner, espeak_program

needs_espeak = pytest.mark.skipif(espeak_program() is None, reason=f"needs espeak-ng: {INSTALL}")
SEVEN = Utterance(digit="seven", manner=Manner(voice="en-us+f1"))


def stand_in(monkeypatch: pytest.MonkeyPatch, seconds: float, gain: float = 0.2) -> None:
    """Speaks a tone, its pitch by the digit, between 0.3 s of silence."""

    def spoken(text: str, manner: Manner) -> tuple[np.ndarray, int]:
        place_T = np.arange(round(seconds * 22_050)) / 22_050
        tone_T = gain * np.sin(2 * np.pi * 200 * 1.4 ** DIGITS.index(text) * place_T)
        quiet = np.zeros(6_615)
        return np.concatenate([quiet, tone_T, quiet]).astype(np.float32), 22_050

    monkeypatch.setattr(spoken_digits, "spoken", spoken)


def test_groups_share_no_voice_and_say_every_digit() -> None:
    variants = [variant for group in VARIANTS.values() for variant in group]
    assert len(set(variants)) == len(variants)
    for group in VARIANTS:
        said = utterances(group, 2, seed=3)
        assert said == utterances(group, 2, seed=3) != utterances(group, 2, seed=4)
        assert len({one.name for one in said}) == len(said) <= 2 * 2 * 10 * len(VARIANTS[group])
        assert {one.digit for one in said} == set(DIGITS)
        assert {one.manner.voice.split("+")[1] for one in said} == set(VARIANTS[group])
        assert {one.caption for one in said} == set(WHO)
    assert SEVEN.caption == "a woman speaks" and SEVEN.name == "seven-en-us-f1-175-50"


def test_a_recording_has_its_length_its_lead_and_its_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, 0.5)
    wave_T = wave_of(SEVEN)
    sounding = np.flatnonzero(np.abs(wave_T) > 0.01)
    assert len(wave_T) == CLIP_S * RATE_HZ and np.abs(wave_T).max() == pytest.approx(PEAK)
    assert sounding[0] / RATE_HZ == pytest.approx(LEAD_S, abs=0.005)
    assert (sounding[-1] - sounding[0]) / RATE_HZ == pytest.approx(0.5, abs=0.01)
    stand_in(monkeypatch, CLIP_S - LEAD_S - 0.01)
    assert len(wave_of(SEVEN)) == CLIP_S * RATE_HZ
    for seconds, gain in ((CLIP_S - LEAD_S + 0.02, 0.2), (0.5, 0.0)):
        stand_in(monkeypatch, seconds, gain)
        with pytest.raises(ValueError, match="does not sound, or longer than"):
            wave_of(SEVEN)


def test_a_judge_tells_what_it_was_fitted_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, 0.4)
    said = [one for one in utterances("judge", 1) if one.manner.voice == "en-us+m2" and one.digit in ("zero", "nine")]
    files, digits = write_recordings(tmp_path, said), [one.digit for one in said]
    judge, mel_BFM = DigitJudge.fit(files, digits, steps=12), mels_of(waves_of(files))
    assert judge.answers(mel_BFM) == digits and judge.right(mel_BFM, digits[::-1]) == 0
    assert judge.answers(mel_BFM - 3) == digits, "loudness says nothing"
    with pytest.raises(ValueError, match="give as many"):
        DigitJudge.fit(files, digits[:1])


def test_what_a_judge_hears_does_not_depend_on_loudness_or_rate(tmp_path: Path) -> None:
    wave_T = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8_000) / 8_000)
    soundfile.write(tmp_path / "loud.wav", wave_T, 8_000)
    soundfile.write(tmp_path / "soft.wav", wave_T / 4, 8_000)
    waves_BT = waves_of([tmp_path / "loud.wav", tmp_path / "soft.wav"])
    assert waves_BT.shape == (2, CLIP_S * RATE_HZ) and not waves_BT[:, RATE_HZ + 10 :].any()
    loud, soft = levelled(mels_of(waves_BT))
    assert loud.shape == (128, 64) and (loud - soft).abs().max() < 0.2


@needs_espeak
@pytest.mark.slow
def test_the_whole_at_its_least(tmp_path: Path) -> None:
    """Every number is at its smallest: it says that the path works, not that anything was learned."""
    plan = replace(
        PLAN,
        takes=1,
        judge_takes=1,
        held_takes=1,
        parts={"audiomae-speech-tiny": 16, "clap-tiny": 32, "mel-vae-tiny": 8},
        clips=48,
        copies=1,
        steps=2,
    )
    rows = {row["digits"]: row for row in speech_table(plan, tmp_path)}
    assert rows["generated, trained"]["by chance"] == 2.0
    assert rows["generated, trained"]["right before the vocoder"].endswith(" of 20")
    right, of = rows["real, voices that are held out"]["right"].split(" of ")
    assert int(of) == 60 and int(right) > 30, "the judge tells digits of voices that it was not fitted on"
    assert len(list((tmp_path / "dataset" / "runs" / "speech-48" / "said").glob("*.wav"))) == 20
