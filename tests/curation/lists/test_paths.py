from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import ClipError, Code
from curation.lists.paths import relative_path, resolve_below, web_address


@pytest.mark.parametrize(
    ("text", "normal"), [("a/b.wav", "a/b.wav"), ("./a//./b.wav", "a/b.wav"), (" a b.wav ", " a b.wav ")]
)
def test_relative_paths_have_one_form(text: str, normal: str) -> None:
    assert relative_path(text) == normal


@pytest.mark.parametrize("text", ["/etc/passwd", "../x", "a/../../x", "a/..", "//x"])
def test_paths_that_lead_out_are_forbidden(tmp_path: Path, text: str) -> None:
    with pytest.raises(ClipError) as caught:
        resolve_below(tmp_path, text)
    assert caught.value.code == Code.FORBIDDEN


@pytest.mark.parametrize("text", ["", " ", ".", "./", "a\0b"])
def test_paths_that_name_no_file_are_malformed(tmp_path: Path, text: str) -> None:
    with pytest.raises(ClipError) as caught:
        resolve_below(tmp_path, text)
    assert caught.value.code == Code.MALFORMED


def test_links_are_followed_and_may_not_leave(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "inner").mkdir(parents=True)
    outside.mkdir()
    (root / "out").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "in").symlink_to(root / "inner")
    (root / "self").symlink_to(root)
    (root / "loop").symlink_to(root / "loop")
    (tmp_path / "alias").symlink_to(root)
    assert resolve_below(root, "in/missing.wav") == root / "inner" / "missing.wav"
    assert resolve_below(tmp_path / "alias", "inner/x") == root / "inner" / "x"
    for path in ("out/x", "out", "file", "self", "loop", "loop/x"):
        with pytest.raises(ClipError) as caught:
            resolve_below(root, path)
        assert caught.value.code == Code.FORBIDDEN, path


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b", "~", "..."]), max_size=8).map("/".join))
def test_what_is_resolved_is_below_the_root(text: str) -> None:
    root = Path("/nowhere/root")
    try:
        target = resolve_below(root, text)
    except ClipError:
        return
    assert target != root
    assert target.is_relative_to(root)


@pytest.mark.parametrize("url", ["http://a/b.mp4", "https://a.b:8080/c?d=e#f", "http://[::1]:80/x", "HTTP://host"])
def test_web_addresses_stay_as_they_are(url: str) -> None:
    assert web_address(f" {url} ") == url


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://a/b",
        "a/b",
        "http://",
        "http:///x",
        "http://me:secret@host/x",
        "http://host:port/x",
        "http://host:99999/",
        "http://[::1/x",
        "http://a b/c",
        "http://a\n/c",
        "http://good\\@bad/",
        "http://a/" + "x" * 5000,
        "javascript:alert(1)",
    ],
)
def test_other_addresses_are_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(ClipError) as caught:
        web_address(url)
    assert caught.value.code in (Code.FORBIDDEN, Code.MALFORMED)
    assert "secret" not in caught.value.detail
