"""Pairs that belong together joined into groups (union-find). Which copy of a group is best is decided elsewhere."""

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


def groups(count: int, first: Numbers, second: Numbers) -> Numbers:
    """The group of every sound: the smallest number that is reached from it through pairs.

    Source: union by the smaller root with path halving (Tarjan and van Leeuwen, J. ACM 31(2), 1984).

    Args:
        count: Number of sounds.
        first: One side of each pair; (P,).
        second: The other side; (P,).

    Returns:
        (count,); a sound that is in no pair is its own group.
    """
    parent = list(range(count))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        a, b = root(one), root(other)
        if a != b:
            parent[max(a, b)] = min(a, b)
    return np.array([root(number) for number in range(count)], np.int64)
