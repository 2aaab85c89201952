"""Groups are what can be reached through pairs."""

import numpy as np

from curation.duplicates.groups import groups


def test_groups_are_what_a_walk_reaches() -> None:
    random = np.random.default_rng(2)
    first, second = random.integers(0, 60, size=(2, 45))
    neighbours: dict[int, set[int]] = {n: {n} for n in range(60)}
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        neighbours[a].add(b)
        neighbours[b].add(a)
    expected = []
    for n in range(60):
        reached = {n}
        while (more := set().union(*(neighbours[m] for m in reached))) != reached:
            reached = more
        expected.append(min(reached))
    assert groups(60, first, second).tolist() == expected
    order = random.permutation(45)
    assert groups(60, second[order], first[order]).tolist() == expected


def test_nothing_is_its_own_group() -> None:
    none = np.zeros(0, np.int64)
    assert groups(3, none, none).tolist() == [0, 1, 2]
    assert groups(0, none, none).tolist() == []
