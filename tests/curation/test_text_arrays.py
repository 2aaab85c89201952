"""Arrays of texts: one place for equal texts, made once, and made again when too many were remembered."""

from pathlib import Path

import numpy as np
import pytest

from curation import text_arrays
from curation.blobs import BlobReader
from curation.text_arrays import TextArrays


def test_equal_texts_share_a_place_and_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def lengths(texts: list[str]) -> list[np.ndarray]:
        asked.append(texts)
        return [np.full((1, 2), len(text), np.float16) for text in texts]

    arrays, reader = TextArrays(tmp_path, lengths), BlobReader(tmp_path)
    first = arrays.places(["rain", "dog", "rain"])
    assert asked == [["dog", "rain"]] and first[0] == first[2] != first[1]
    assert [float(reader.read(ref)[0, 0]) for ref in first] == [4, 3, 4], "readable as soon as it is named"
    assert arrays.places(["dog"]) == first[1:2] and len(asked) == 1
    monkeypatch.setattr(text_arrays, "REMEMBERED", 1)
    assert float(reader.read(arrays.places(["rain", "a cat"])[1])[0, 0]) == 5
    assert asked[1] == ["a cat", "rain"], "what was forgotten is made again"
    with pytest.raises(ValueError, match="shorter"):
        TextArrays(tmp_path, lambda texts: []).places(["x"])
