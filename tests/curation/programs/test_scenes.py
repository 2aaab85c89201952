import numpy as np
import pytest

from curation.errors import ArgumentError, ClipError, Code
from curation.programs.probe import probe
from curation.programs.scenes import cuts_ms, detector_version, scene_starts_ms

pytest_plugins = "tests.curation.encoding"


def scenes(*lengths: int, size: tuple[int, int] = (72, 128)) -> np.ndarray:
    """Grey scenes of so many frames, each a ground of its own that drifts by a pixel a frame."""
    rng = np.random.default_rng(3)
    shown = []
    for number, length in enumerate(lengths):
        coarse = rng.integers(0, 120, (9, 16), dtype=np.uint8) + np.uint8(110 * (number % 2))
        ground = coarse.repeat(size[0] // 9, axis=0).repeat(size[1] // 16, axis=1)
        shown += [np.roll(ground, frame, axis=1) for frame in range(length)]
    return np.stack(shown)


@pytest.mark.parametrize("rate_hz", [25, 50])
def test_cuts_are_found_where_they_were_made(rate_hz, encode):
    pytest.importorskip("scenedetect")
    path = encode("a.mp4", frames=scenes(2 * rate_hz, 3 * rate_hz, 2 * rate_hz), frame_rate_hz=rate_hz)
    picture = probe(path).picture
    assert picture is not None
    assert scene_starts_ms(path, picture, 3.0, 60.0) == pytest.approx([2_000, 5_000], abs=40)


def test_one_scene_has_no_cut(encode):
    pytest.importorskip("scenedetect")
    path = encode("a.mp4", frames=scenes(75))
    picture = probe(path).picture
    assert picture is not None and scene_starts_ms(path, picture, 3.0, 60.0) == []


def test_the_same_as_the_detectors_own_reader_finds(encode):
    scenedetect = pytest.importorskip("scenedetect")
    path = encode("a.mp4", frames=scenes(40, 60, 50))
    theirs = scenedetect.detect(str(path), scenedetect.AdaptiveDetector())
    assert cuts_ms(path, 3.0) == [round(1000 * begin.frame_num / 25) for begin, _ in theirs[1:]]


def test_a_picture_that_takes_too_long_is_a_timeout(encode):
    path = encode("a.mp4", frames=scenes(100))
    picture = probe(path).picture
    assert picture is not None
    with pytest.raises(ClipError) as refused:
        scene_starts_ms(path, picture, 3.0, 0.001)
    assert refused.value.code == Code.TIMEOUT


def test_a_missing_detector_says_what_to_install(monkeypatch):
    from importlib.metadata import PackageNotFoundError

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    detector_version.cache_clear()
    monkeypatch.setattr("curation.programs.scenes.version", missing)
    with pytest.raises(ArgumentError, match="pip install"):
        detector_version()
