"""People among themselves, by arithmetic and on published captions."""

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from captioning.metrics.agreement import Agreement, agreement, leave_one_out
from captioning.metrics.words import words

DOG, RAIN = ["a", "dog", "barks", "twice", "in", "the", "yard"], ["rain", "falls", "on", "a", "tin", "roof"]
BIRD = ["birds", "sing", "in", "a", "far", "away", "wood"]


def test_a_reference_itself_is_perfect_and_another_clip_nothing() -> None:
    same = agreement([DOG, RAIN], [[DOG], [RAIN]])
    assert same.as_dict() == pytest.approx(
        {"clips": 2, "cider_d": 10.0, "rouge_l": 1.0, "bleu_1": 1.0, "bleu_2": 1.0, "bleu_3": 1.0, "bleu_4": 1.0}
    )
    other = agreement([RAIN, DOG], [[DOG], [RAIN]])
    assert other.bleu[3] == 0.0 and other.cider_d < 0.5


def test_people_who_say_the_same_agree_wholly() -> None:
    assert leave_one_out([[DOG, DOG], [RAIN, RAIN], [BIRD]]) == Agreement(
        clips=2, cider_d=pytest.approx(10.0), rouge_l=pytest.approx(1.0), bleu=(pytest.approx(1.0),) * 4
    )


def test_each_sentence_is_left_out_once_and_rounds_weigh_their_clips() -> None:
    """Round 0 and 1 have both clips, round 2 the second alone: CIDEr-D of one clip is 0, ROUGE-L of equals 1."""
    found = leave_one_out([[DOG, RAIN], [BIRD, BIRD, BIRD]])
    assert found is not None and found.clips == 2
    rouge = agreement([DOG], [[RAIN]]).rouge_l, agreement([RAIN], [[DOG]]).rouge_l
    assert found.rouge_l == pytest.approx((rouge[0] + 1 + rouge[1] + 1 + 1) / 5)
    first = agreement([DOG, BIRD], [[RAIN], [BIRD, BIRD]])
    second = agreement([RAIN, BIRD], [[DOG], [BIRD, BIRD]])
    assert found.cider_d == pytest.approx((2 * first.cider_d + 2 * second.cider_d + 0.0) / 5)


def test_single_sentences_agree_with_nobody() -> None:
    assert leave_one_out([[DOG], [RAIN]]) is None
    assert leave_one_out([]) is None
    with pytest.raises(ValueError, match="at least one clip"):
        Agreement(clips=0, cider_d=0.0, rouge_l=0.0, bleu=(0.0,) * 4)


def published(real_data: Path, name: str) -> list[list[list[str]]]:
    """The captions of each clip of a published test set, as words."""
    said: dict[str, list[list[str]]] = defaultdict(list)
    with (real_data / "annotations" / name / "test.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if name == "clotho":
                said[row["file_name"]] = [words(row[f"caption_{n}"]) for n in range(1, 6)]
            else:
                said[f"{row['youtube_id']} {row['start_time']}"].append(words(row["caption"]))
    return list(said.values())


HUMAN_AUDIOCAPS = {
    "bleu_1": 0.654,
    "bleu_2": 0.489,
    "bleu_3": 0.373,
    "bleu_4": 0.291,
    "rouge_l": 0.496,
    "cider_d": 0.913,
}
"""The row "Human" on AudioCaps' test set. Source: Kim et al. 2019; their words are of another tokenizer."""


@pytest.mark.real
@pytest.mark.parametrize("name", ["audiocaps", "clotho"])
def test_people_agree_on_published_sets(real_data: Path, name: str) -> None:
    sentences = published(real_data, name)
    found = leave_one_out(sentences)
    assert found is not None and found.clips == len(sentences)
    print(name, found)
    if name == "audiocaps":
        ours = {key: value for key, value in found.as_dict().items() if key != "clips"}
        assert ours == pytest.approx(HUMAN_AUDIOCAPS, abs=0.01)
    strangers = agreement([said[0] for said in sentences[1:] + sentences[:1]], [said[1:] for said in sentences])
    assert strangers.cider_d < 0.1 * found.cider_d, "captions of other clips have little in common"
