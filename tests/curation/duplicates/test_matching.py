"""Fingerprints of one recording match wherever they begin; others do not, and nothing is lost to the index."""

from itertools import combinations

import numpy as np
import pytest

from curation.duplicates.matching import MAX_WORDS, PrintRule, Prints, Words, same_recordings

RULE = PrintRule()


def words(seed: int, count: int = 60) -> Words:
    return np.random.default_rng([3, seed]).integers(0, 2**32, size=count, dtype=np.uint32)


def flipped(given: Words, bits: int, seed: int = 0) -> Words:
    """The words with exactly so many different bits flipped."""
    places = np.random.default_rng([4, seed]).permutation(32 * len(given))[:bits]
    out = given.copy()
    np.bitwise_xor.at(out, places // 32, np.uint32(1) << (places % 32).astype(np.uint32))
    return out


def matches(*prints: Words, rule: PrintRule = RULE, own: int | None = None) -> dict[tuple[int, int], float]:
    pairs = same_recordings(Prints.joined(prints), rule, own=own)
    listed = zip(pairs.first.tolist(), pairs.second.tolist(), pairs.distance.tolist(), strict=True)
    return {(first, second): distance for first, second, distance in listed}


def test_the_bound_itself_is_the_same_and_one_bit_more_is_not() -> None:
    one = words(1, 50)
    assert matches(one, flipped(one, 160)) == {(0, 1): 0.1}
    assert matches(one, flipped(one, 161)) == {}


def test_a_shifted_and_trimmed_copy_is_found_at_its_place() -> None:
    one = words(1)
    assert matches(one, one[17:47]) == {(0, 1): 0.0}
    assert matches(one[17:47], one) == {(0, 1): 0.0}
    assert matches(one[:40], one[20:]) == {(0, 1): 0.0}
    assert matches(one[:40], one[21:]) == {}, "19 of 39 words are less than half"


def test_the_shortest_overlap_that_says_something_counts() -> None:
    one = words(1)
    assert matches(one, one[5:13]) == {(0, 1): 0.0}
    assert matches(one, one[5:12]) == {}


def test_repeated_words_say_nothing() -> None:
    silence = np.full(60, 627_964_279, np.uint32)
    assert matches(silence, silence) == {}
    padded = [np.concatenate([words(n, 12), silence[:40]]) for n in range(2)]
    assert matches(*padded) == {}
    assert matches(padded[0], np.concatenate([words(0, 12), silence[:20]])) == {(0, 1): 0.0}


def test_empty_prints_match_nothing() -> None:
    nothing = np.zeros(0, np.uint32)
    assert matches() == {}
    assert matches(nothing, nothing) == {}
    assert matches(nothing, words(1), words(1)) == {(1, 2): 0.0}


def test_pairs_among_the_others_are_left_out() -> None:
    assert set(matches(words(1), words(2), words(1), words(1), own=2)) == {(0, 2), (0, 3)}


def test_the_index_finds_what_comparing_everything_finds() -> None:
    random = np.random.default_rng(9)
    prints = []
    for n in range(40):
        source, begin, length = random.integers([0, 0, 12], [8, 30, 30])
        prints.append(flipped(words(int(source))[begin : begin + length], int(random.integers(0, 3 * length)), n))
    found = matches(*prints)
    expected = {}
    for first, second in combinations(range(len(prints)), 2):
        error = exhaustive(prints[first], prints[second])
        if error is not None and error <= RULE.max_error:
            expected[first, second] = error
    assert found == pytest.approx(expected)
    assert len(expected) > 10


def exhaustive(a: Words, b: Words) -> float | None:
    """Least share of differing bits over every alignment with enough words in common."""
    needed = max(RULE.min_words, RULE.min_share * min(len(a), len(b)))
    errors = []
    for offset in range(-len(b) + 1, len(a)):
        begin, end = max(offset, 0), min(len(a), offset + len(b))
        if end - begin >= needed:
            bits = np.bitwise_count(a[begin:end] ^ b[begin - offset : end - offset]).sum()
            errors.append(int(bits) / (32 * (end - begin)))
    return min(errors, default=None)


def test_more_copies_than_neighbours_still_hang_together() -> None:
    copies = [words(1)] * 20
    linked = matches(*copies, rule=PrintRule(neighbours=2))
    assert {(n, n + 1) for n in range(19)} <= set(linked) and len(linked) < 190


def test_what_is_behind_the_first_hour_is_not_compared() -> None:
    long = words(1, MAX_WORDS + 50)
    assert len(Prints.joined([long]).words) == MAX_WORDS
    assert matches(long, long[-60:]) == {}


def test_stored_bytes_are_little_endian_words() -> None:
    assert Prints.of([b"\x01\x00\x00\x00\xff\x00\x00\x00", b""]).words.tolist() == [1, 255]


@pytest.mark.parametrize(
    "wrong", [{"max_error": 0.5}, {"max_error": -0.1}, {"min_words": 0}, {"neighbours": 0}, {"min_share": 0.0}]
)
def test_a_rule_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        PrintRule(**wrong)  # type: ignore[arg-type]
