from pathlib import Path

import pytest

from curation.download.addresses import Origin
from curation.download.source import Source, parse_source
from curation.errors import ArgumentError, ClipError, Code


def test_youtube() -> None:
    source = parse_source("youtube")
    assert (source.kind, str(source), source.identity, source.is_cut) == ("youtube", "youtube", "youtube", False)


@pytest.mark.parametrize(
    ("text", "found", "is_cut"),
    [
        ("http://mirror/{video_id}.mp4", "http://mirror/_-a.mp4", False),
        ("https://mirror:81/get?v={video_id}&x={{1}}", "https://mirror:81/get?v=_-a&x={1}", False),
        ("http://mirror/{video_id}/{start}.mp4", "http://mirror/_-a/30.mp4", True),
        ("/media/{video_id}.mp4", "/media/_-a.mp4", False),
        ("/media/{video_id}_{start:06d}.mp4", "/media/_-a_000030.mp4", True),
        ("/media/{video_id}_{start:d}.mp4", "/media/_-a_30.mp4", True),
        ("/media/{video_id}_{start:06}.mp4", "/media/_-a_000030.mp4", True),
    ],
)
def test_templates(text: str, found: str, is_cut: bool) -> None:
    source = parse_source(text)
    assert (source.locate("_-a", 30_000), source.is_cut) == (found, is_cut)
    assert str(source) == text


def test_relative_paths_and_home_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert parse_source("media/{video_id}.mp4").template == f"{tmp_path}/media/{{video_id}}.mp4"
    assert parse_source("~/{video_id}.mp4").template == "/home/someone/{video_id}.mp4"


def test_root_is_the_fixed_folder() -> None:
    assert parse_source("/media/a_{video_id}/x.mp4").root == Path("/media")
    assert parse_source("/{video_id}.mp4").root == Path("/")
    assert parse_source("http://Mirror/{video_id}.mp4").origin == Origin("http", "mirror", 80)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("youtub", "has no {video_id}"),
        ("", "has no {video_id}"),
        ("/media", "has no {video_id}"),
        ("/media/{start:06d}.mp4", "has no {video_id}"),
        ("/media/{id}.mp4", "the field {id} is not known"),
        ("/media/{}.mp4", "the field {} is not known"),
        ("/media/{video_id!r}.mp4", "not known"),
        ("/media/{video_id:>20}.mp4", "not known"),
        ("/media/{video_id.__class__}.mp4", "not known"),
        ("/media/{video_id}_{start:99999d}.mp4", "not known"),
        ("/media/{video_id}_{start:.3f}.mp4", "not known"),
        ("/media/{video_id", "cannot be read"),
        ("/media/{video_id:{start}}.mp4", "not known"),
        ("ftp://mirror/{video_id}.mp4", "scheme 'ftp' is not read; allowed are `youtube`"),
        ("file:///media/{video_id}.mp4", "scheme 'file' is not read"),
        ("s3://bucket/{video_id}.mp4", "scheme 's3' is not read"),
        ("http://{video_id}.evil/a.mp4", "host must be written out"),
        ("http:///{video_id}.mp4", "host must be written out"),
        ("http://mirror:port/{video_id}.mp4", "is no address"),
        ("http://a:b@mirror/{video_id}.mp4", "name or password"),
        ("http://mirror/a.mp4#{video_id}", "leave out what follows the #"),
    ],
)
def test_what_is_refused_and_why(text: str, said: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse_source(text)
    assert said in str(caught.value)


def test_password_is_not_repeated() -> None:
    with pytest.raises(ArgumentError) as caught:
        parse_source("http://a:hunter2@mirror/{video_id}.mp4")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("video_id", ["", ".", "..", "a/b", "../../etc/passwd", "a\x00b"])
@pytest.mark.parametrize("text", ["/media/{video_id}", "http://mirror/{video_id}"])
def test_ids_that_are_no_plain_names(text: str, video_id: str) -> None:
    with pytest.raises(ClipError) as caught:
        parse_source(text).locate(video_id, None)
    assert caught.value.code is Code.FORBIDDEN


def test_ids_are_quoted_in_addresses_and_not_in_paths() -> None:
    assert parse_source("http://m/{video_id}.mp4").locate("a b?#%", None) == "http://m/a%20b%3F%23%25.mp4"
    assert parse_source("/m/{video_id}.mp4").locate("a b?#%", None) == "/m/a b?#%.mp4"


def test_start_between_seconds_is_not_rounded() -> None:
    source = parse_source("/media/{video_id}_{start:06d}.mp4")
    with pytest.raises(ClipError, match="12500 ms") as caught:
        source.locate("a", 12_500)
    assert caught.value.code is Code.NOT_FOUND
    with pytest.raises(ValueError, match="start is needed"):
        source.locate("a", None)


def test_sources_are_values() -> None:
    assert parse_source("/m/{video_id}") == Source(kind="folder", template="/m/{video_id}")
