import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from curation.download import addresses
from curation.download.addresses import AddressRule, Origin, is_public
from curation.download.session import Limits, Request, Session
from curation.download.source import parse_source
from curation.errors import ClipError, Code
from tests.curation.download.scripted import answer, redirect, scripted

MEDIA = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 8
LIMITS = Limits(timeout_s=30.0, silence_s=5.0)

PRIVATE = [
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%lo", "fc00::1",
    "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    "2001:db8::1", "fec0::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


def test_origin_has_the_port_of_its_scheme() -> None:
    assert Origin.of("http://Mirror/x") == Origin("http", "mirror", 80)
    assert Origin.of("https://mirror:8443/x") == Origin("https", "mirror", 8443)
    assert str(Origin.of("http://[::1]:81/")) == "http://[::1]:81"


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a/b", "data:,x", "gopher://a", "//a/b", "a/b", "http:///x"]
)
def test_only_http(url: str) -> None:
    with pytest.raises(ClipError) as caught:
        AddressRule(allow_private=True).check_url(url)
    assert caught.value.code is Code.FORBIDDEN


@pytest.mark.parametrize("url", ["https://mirror/a", "http://mirror:81/a", "http://other/a", "http://mirror.evil/a"])
def test_a_mirror_is_not_left(url: str) -> None:
    with pytest.raises(ClipError) as caught:
        AddressRule(origin=Origin.of("http://mirror/")).check_url(url)
    assert caught.value.code is Code.NOT_FOUND


def got(url: str, folder: Path, **options: bool) -> bytes:
    request = Request(platform="url", video_id="0" * 20, url=url)
    return Session(None, limits=LIMITS, **options).get(request, folder).path.read_bytes()


def test_private_url_row_is_refused_unasked_and_read_with_leave(tmp_path: Path) -> None:
    with scripted() as server:
        server.answers["/a.mp4"] = answer(MEDIA)
        with pytest.raises(ClipError, match=r"private address 127\.0\.0\.1; give --allow-private") as caught:
            got(f"{server.url}/a.mp4", tmp_path)
        assert (caught.value.code, server.requests) == (Code.FORBIDDEN, [])
        assert got(f"{server.url}/a.mp4", tmp_path, allow_private=True) == MEDIA


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f.1", "127.1"])
def test_other_spellings_of_loopback_are_refused(tmp_path: Path, host: str) -> None:
    with scripted() as server, pytest.raises(ClipError) as caught:
        got(f"http://{host}:{server.url.rpartition(':')[2]}/a.mp4", tmp_path)
    assert (caught.value.code, server.requests) == (Code.FORBIDDEN, [])


def test_redirect_of_a_url_row_to_a_private_address_is_refused_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.2")
    with scripted("127.0.0.2") as outside, scripted() as inside:
        outside.answers["/good.mp4"] = answer(MEDIA)
        outside.answers["/moved.mp4"] = redirect("/good.mp4")
        outside.answers["/a.mp4"] = redirect(f"{inside.url}/secret.mp4")
        outside.answers["/b.mp4"] = redirect("file:///etc/passwd")
        assert got(f"{outside.url}/good.mp4", tmp_path) == MEDIA
        (tmp_path / "original.mp4").unlink()
        assert got(f"{outside.url}/moved.mp4", tmp_path) == MEDIA
        (tmp_path / "original.mp4").unlink()
        for path in ("a", "b"):
            with pytest.raises(ClipError) as caught:
                got(f"{outside.url}/{path}.mp4", tmp_path)
            assert caught.value.code is Code.FORBIDDEN
        assert inside.requests == []


def test_second_answer_of_the_name_server_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when it is looked at and private when it is connected to: the first answer counts, and
    the next request is looked at anew."""
    with scripted("127.0.0.2") as outside, scripted() as inside:
        outside.answers["/a.mp4"] = answer(MEDIA)
        port = int(outside.url.rpartition(":")[2])
        answers = ["127.0.0.2", "127.0.0.1"]
        monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.2")
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))],
        )
        with pytest.raises(ClipError, match=r"resolves to the private address 127\.0\.0\.1") as caught:
            got(f"http://rebinding.example:{port}/a.mp4", tmp_path)
        assert (caught.value.code, outside.requests, inside.requests) == (Code.FORBIDDEN, ["/a.mp4"], [])


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("file:///etc/passwd", Code.FORBIDDEN),
        ("ftp://127.0.0.1/a.mp4", Code.FORBIDDEN),
        ("http://a:b@127.0.0.1/a.mp4", Code.FORBIDDEN),
        ("http://", Code.MALFORMED),
    ],
)
def test_url_rows_that_are_no_web_addresses(tmp_path: Path, url: str, code: Code) -> None:
    with pytest.raises(ClipError) as caught:
        got(url, tmp_path, allow_private=True)
    assert caught.value.code is code


def test_options_hidden_in_a_fragment_are_dropped(tmp_path: Path) -> None:
    with scripted() as server:
        server.answers["/a.mp4"] = answer(MEDIA)
        hidden = '#__youtubedl_smuggle={"force_videoid": "../../x", "to_generic": true}'.replace(" ", "%20")
        assert got(server.url + "/a.mp4" + hidden, tmp_path, allow_private=True) == MEDIA


def test_proxies_of_the_environment_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted() as server, scripted() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        server.answers["/a.mp4"] = answer(MEDIA)
        session = Session(parse_source(server.url + "/{video_id}.mp4"), limits=LIMITS)
        session.get(Request(platform="youtube", video_id="a"), tmp_path)
        assert proxy.requests == []


def test_certificates_are_checked(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1", "-keyout"]
    try:
        subprocess.run(
            ["openssl", *made, str(key), "-out", str(tmp_path / "cert.pem")], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", key)
    folder = tmp_path / "scratch"
    folder.mkdir()
    with scripted(tls=context) as server, pytest.raises(ClipError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        got(server.url + "/a.mp4", folder, allow_private=True)
    assert (caught.value.code, server.requests) == (Code.NETWORK, [])
