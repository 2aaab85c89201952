import os
from pathlib import Path

import pytest

from curation.download.session import Download, Request, Session
from curation.download.source import parse_source
from curation.errors import ArgumentError, ClipError, Code, StoppedError


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A folder of media with one good file and one of each oddity, beside a secret."""
    folder = tmp_path / "media"
    (folder / "sub").mkdir(parents=True)
    (folder / "good.MP4").write_bytes(b"media")
    (folder / "good_000030.mp4").write_bytes(b"cut")
    (folder / "empty.mp4").touch()
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (folder / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (folder / "inner.mp4").symlink_to("good.MP4")
    (folder / "zero.mp4").symlink_to("/dev/zero")
    return folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def listed(path: str, root: Path, scratch: Path) -> Download:
    return Session(None).get(Request(platform="file", video_id="0" * 20, path=path, root=str(root)), scratch)


def templated(name: str, root: Path, scratch: Path, start_ms: int | None = None) -> Download:
    template = "{video_id}.mp4" if start_ms is None else "{video_id}_{start:06d}.mp4"
    session = Session(parse_source(f"{root}/{template}"))
    return session.get(Request(platform="youtube", video_id=name, start_ms=start_ms), scratch)


def test_listed_file_stays_where_it_is(media: Path, scratch: Path) -> None:
    got = listed("good.MP4", media, scratch)
    assert got == Download(path=media / "good.MP4", bytes=5, suffix=".mp4", owned=False, source="row")
    assert list(scratch.iterdir()) == []
    assert listed("inner.mp4", media, scratch).path == media / "good.MP4"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("missing.mp4", Code.NOT_FOUND),
        ("good.MP4/inside.mp4", Code.NOT_FOUND),
        ("empty.mp4", Code.EMPTY),
        ("folder.mp4", Code.UNREADABLE),
        ("pipe.mp4", Code.UNREADABLE),
        ("loop.mp4", Code.FORBIDDEN),
        ("link.mp4", Code.FORBIDDEN),
        ("zero.mp4", Code.FORBIDDEN),
        ("../secret.mp4", Code.FORBIDDEN),
        ("sub/../../secret.mp4", Code.FORBIDDEN),
        ("/etc/passwd", Code.FORBIDDEN),
    ],
)
def test_listed_files_that_are_refused(media: Path, scratch: Path, path: str, code: Code) -> None:
    with pytest.raises(ClipError) as caught:
        listed(path, media, scratch)
    assert caught.value.code is code


def test_templated_file(media: Path, scratch: Path) -> None:
    got = templated("good", media, scratch, start_ms=30_000)
    assert (got.path, got.bytes, got.owned) == (media / "good_000030.mp4", 3, False)
    assert got.source == f"{media}/{{video_id}}_{{start:06d}}.mp4"


def test_templates_follow_the_links_of_their_folder(media: Path, tmp_path: Path, scratch: Path) -> None:
    assert templated("link", media, scratch).path.read_bytes() == b"secret"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing", Code.NOT_FOUND),
        ("n" * 300, Code.NOT_FOUND),
        ("loop", Code.NOT_FOUND),
        ("empty", Code.EMPTY),
        ("folder", Code.UNREADABLE),
        ("pipe", Code.UNREADABLE),
        ("zero", Code.UNREADABLE),
        ("../secret", Code.FORBIDDEN),
        ("..", Code.FORBIDDEN),
    ],
)
def test_templated_files_that_are_refused(media: Path, scratch: Path, name: str, code: Code) -> None:
    with pytest.raises(ClipError) as caught:
        templated(name, media, scratch)
    assert caught.value.code is code


def test_folder_that_is_gone_sets_nothing_aside(media: Path, tmp_path: Path, scratch: Path) -> None:
    session = Session(parse_source(f"{media}/{{video_id}}.mp4"))
    media.rename(tmp_path / "unmounted")
    with pytest.raises(StoppedError, match="is not there"):
        session.get(Request(platform="youtube", video_id="good"), scratch)
    with pytest.raises(StoppedError, match="is not there"):
        listed("good.MP4", media, scratch)


def test_arguments_that_cannot_be() -> None:
    with pytest.raises(ArgumentError, match="no folder /nowhere"):
        Session(parse_source("/nowhere/{video_id}.mp4"))
    with pytest.raises(ArgumentError, match="no cookie file"):
        Session(None, cookies=Path("/nowhere/cookies.txt"))
    with pytest.raises(ValueError, match="max_height_px"):
        Session(None, max_height_px=0)


def test_rows_named_by_id_need_a_source(scratch: Path) -> None:
    with pytest.raises(ArgumentError, match="--from"):
        Session(None).get(Request(platform="youtube", video_id="a"), scratch)
