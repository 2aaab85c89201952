"""Named rules: the thresholds by which published data sets were chosen, as conditions for `select`.

A rule is a condition in SQL over one row a clip, in the words of `select --where`; a clip for which it is false or null
is refused, so that what could not be measured is never passed. Duplicates and evaluation lists are no rules: `dedupe`
and `guard` know them. Where a publication gives no number, the number is ours and `source` says so.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One named condition.

    Args:
        name: As in `select --rules`.
        where: SQL over `clips`, `videos`, `"fetch"`, `cut`, `measure`, `tag` and the view `segment`.
        needs: Stages that must have run.
        source: Where its numbers are from, and which are ours.
    """

    name: str
    where: str
    needs: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise ValueError(f"a rule is named with small letters, digits and hyphens, not {self.name!r}")
        if not self.needs or not self.where or not self.source:
            raise ValueError(f"rule {self.name!r} needs a condition, stages and a source")


def _all(*conditions: str) -> str:
    return " AND ".join(f"({condition})" for condition in conditions)


def _no_talk() -> str:
    """Neither the platform's category nor the uploader's words say interview or news; without either, nobody knows."""
    words = "lower(\"fetch\".title || ' ' || array_to_string(\"fetch\".tags, ' '))"
    said = f"regexp_matches({words}, '\\b(interviews?|news|newscast|press conference|podcast)\\b')"
    return _all(
        "NOT list_contains(\"fetch\".categories, 'News & Politics')",
        f"NOT {said}",
    )


_RULES = (
    Rule(
        name="vggsound-faults",
        where=_all("measure.duration_s >= 9", "measure.still_ratio < 0.9", "measure.silence_ratio < 0.95"),
        needs=("measure",),
        source="The faults that others counted in VGGSound (H. Chen, W. Xie, A. Vedaldi, A. Zisserman, ICASSP 2020): "
        "701 clips shorter than 9 s, 5,965 with still frames, 1,010 silent, 408 duplicates. 9 s is of that count; how "
        "much of a clip stands still (0.9) or is silent (0.95) is ours. Duplicates: `dedupe`",
    ),
    Rule(
        name="v2m",
        where=_all(
            "(SELECT max(whole.length_ms) FROM segment AS whole WHERE whole.key = clips.video_key) "
            "BETWEEN 30000 AND 480000",
            "tag.music_ratio >= 0.5",
            "tag.speech_ratio_tag < 0.5",
            "measure.ssim <= 0.8",
            _no_talk(),
        ),
        needs=("fetch", "segment", "measure", "tag"),
        source="V2M, of VidMuse (Z. Tian et al., arXiv 2406.04321, 2024), as summarised by others, its filter never "
        "having been released: videos of 30 to 480 s, no interviews or news, music above 0.5 in at least half of the "
        "windows, mean structural similarity above 0.8 is a still picture, no speech. Ours: frames 64 px wide at 5 a "
        "second, speech above 0.5 in less than half of the windows, the words and the category that mean interviews "
        "and news",
    ),
    Rule(
        name="clotho-length",
        where="measure.duration_s BETWEEN 15 AND 30",
        needs=("measure",),
        source="Clotho (K. Drossos, S. Lipping, T. Virtanen, ICASSP 2020): sounds of 15 to 30 s",
    ),
    Rule(
        name="true-peak",
        where="measure.true_peak_dbtp <= -1",
        needs=("measure",),
        source="EBU R 128 (2020): the maximum permitted true peak of a programme is -1 dBTP",
    ),
    Rule(
        name="clean-sound",
        where=_all(
            "measure.silence_ratio < 0.5",
            "measure.clipping_ratio < 0.01",
            "abs(measure.dc_offset) < 0.01",
            "measure.bandwidth_hz >= 7000",
        ),
        needs=("measure",),
        source="Ours: heard for half of the time, less than 1 % clipped, an offset of less than 1 %, and more than the "
        "3.4 kHz of telephones and the 5.5 kHz of 11,025 Hz recordings",
    ),
    Rule(
        name="moving-picture",
        where=_all("measure.still_ratio < 0.5", "measure.black_ratio < 0.5"),
        needs=("measure",),
        source="Ours: for half of the time the picture moves, and is not black",
    ),
    Rule(
        name="no-speech",
        where="measure.speech_ratio < 0.05",
        needs=("measure",),
        source="Ours: less than half a second of speech in 10 s, by Silero VAD at its own threshold",
    ),
    Rule(
        name="no-singing",
        where="tag.singing_ratio < 0.5",
        needs=("tag",),
        source="V2M, of VidMuse (arXiv 2406.04321), removes singing; how is not published. Ours: singing above 0.5 in "
        "less than half of the windows, by the tagger. With `v2m`: --rules v2m,no-singing",
    ),
)

RULES: dict[str, Rule] = {rule.name: rule for rule in _RULES}
"""The rules by name."""
