"""The service as a client sees it: answers equal to the index's own, plain refusals, and never a path."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
import pytest
from starlette.testclient import TestClient

from curation.dataset import Dataset
from curation.programs.ffmpeg import ffmpeg_path
from curation.selections.selection import read_rows
from curation.selections.where import clips_where
from curation.takedowns.forget import forget
from retrieval_index.change import drop
from retrieval_index.question import Wanted
from retrieval_index.service.access import Access
from retrieval_index.service.limits import Limits
from tests.retrieval_index.service.served import (
    CAPTIONS,
    LENGTH_S,
    TONES_HZ,
    archive,
    build_index,
    client_of,
    make_dataset,
    make_service,
    wav,
)
from tests.retrieval_index.test_pictures import coloured, still
from tests.retrieval_index.tones import RATE_HZ, clip_of
from tests.retrieval_index.toy_embedder import Pitches, Seeing, tone

ALL = {clip_of(name) for name in TONES_HZ}
SOUND, PICTURE = "/api/search/sound", "/api/search/picture"
TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("served") / "dataset")


@pytest.fixture(scope="module")
def client(made: Dataset) -> Iterator[TestClient]:
    limits = Limits(body_bytes=4_000, upload_bytes=200_000, upload_s=10)
    with client_of(make_service(made, limits)) as opened:
        yield opened


@pytest.fixture
def own(tmp_path: Path) -> Dataset:
    """A dataset that may be changed."""
    return make_dataset(tmp_path / "dataset")


def clips(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["clip_id"] for hit in answer.json()["hits"]]


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_words_find_what_they_name(client: TestClient) -> None:
    for name, pitch in TONES_HZ.items():
        answer = client.post("/api/search", json={"text": str(pitch), "k": 1})
        (hit,) = answer.json()["hits"]
        assert hit == {
            "clip_id": clip_of(name),
            "score": pytest.approx(1.0, abs=0.01),
            "start_s": 0.0,
            "end_s": min(LENGTH_S[name], 2.0),
            "duration_s": 10.0,
            "caption": CAPTIONS[name],
            "labels": [],
            "has_video": False,
            "copies": [],
        }
    assert clips(client.get("/api/search", params={"text": "440", "k": 1})) == [clip_of("middle")]
    assert len(clips(client.post("/api/search", json={"text": "440"}))) == 4


def test_terms_filters_and_folding(client: TestClient) -> None:
    both = clips(client.post("/api/search", json={"text": "440", "plus": ["880"], "k": 2}))
    assert set(both) == {clip_of("middle"), clip_of("high")}
    less = clips(client.get("/api/search", params={"text": "440", "plus": "880", "minus": "2 * 440", "k": 1}))
    assert less == [clip_of("high")]
    assert clips(client.post("/api/search", json={"plus": ["220"], "k": 1})) == [clip_of("low")]
    longer = client.post("/api/search", json={"text": "220", "where": "measure.duration_s > 2.5"})
    assert set(clips(longer)) == {clip_of("high"), clip_of("shrill")}
    assert len(clips(client.post("/api/search", json={"text": "440", "fold": 0.9}))) == 4


def test_like_a_clip_and_like_a_sound(client: TestClient) -> None:
    others = clips(client.post("/api/search", json={"clip": clip_of("low")}))
    assert set(others) == ALL - {clip_of("low")}
    for rate_hz, subtype in ((RATE_HZ, "PCM_16"), (16_000, "FLOAT")):
        body = wav(tone(880, 3, rate_hz), rate_hz, subtype)
        assert clips(client.post(SOUND, content=body, params={"k": 1})) == [clip_of("high")]
    with_terms = client.post(SOUND, content=wav(tone(880, 1, RATE_HZ)), params={"minus": "2*880", "plus": "220"})
    assert clips(with_terms)[0] == clip_of("low")


@pytest.mark.parametrize(
    ("question", "status", "code"),
    [
        ({}, 400, "BAD_REQUEST"),
        ({"text": "440", "clip": "x"}, 400, "BAD_REQUEST"),
        ({"minus": ["440"]}, 400, "BAD_REQUEST"),
        ({"text": " "}, 400, "BAD_REQUEST"),
        ({"text": "4" * 501}, 400, "TOO_LONG"),
        ({"text": "a\0b"}, 400, "BAD_REQUEST"),
        ({"text": "440", "k": 201}, 400, "TOO_MANY_CLIPS"),
        ({"text": "440", "k": 0}, 422, "NOT_UNDERSTOOD"),
        ({"text": "440", "kk": 1}, 422, "NOT_UNDERSTOOD"),
        ({"text": 440}, 422, "NOT_UNDERSTOOD"),
        ({"text": "440", "fold": 1.1}, 422, "NOT_UNDERSTOOD"),
        ({"text": "440", "plus": ["1"] * 9}, 400, "TOO_MANY_TERMS"),
        ({"text": "440", "minus": ["440"]}, 400, "BAD_REQUEST"),
        ({"text": "440", "where": "x" * 1_001}, 400, "TOO_LONG"),
        ({"text": "440", "where": "nothing = 1"}, 400, "BAD_REQUEST"),
        ({"clip": "../../etc/passwd"}, 404, "NOT_FOUND"),
        ({"clip": "x" * 64}, 404, "NOT_FOUND"),
        ({"clip": "x" * 65}, 422, "NOT_UNDERSTOOD"),
        ({"text": "440", "plus": ["nan * 220"]}, 400, "BAD_REQUEST"),
        ({"text": "440", "minus": ["9" * 4_000]}, 413, "TOO_LARGE"),
    ],
)
def test_what_is_wrong_is_said(client: TestClient, question: Any, status: int, code: str) -> None:
    answer = client.post("/api/search", json=question)
    assert refusal(answer) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/json"


def test_what_is_no_json_is_said(client: TestClient) -> None:
    cut = client.post("/api/search", content=b'{"text": "44', headers={"content-type": "application/json"})
    assert refusal(cut) == (422, "NOT_UNDERSTOOD") and cut.json()["error"]["message"] == "the body is no JSON"
    for body in (b"", b"{", b"\xff\xfe", b"[1]", b'{"text": "\\ud800"}'):
        answer = client.post("/api/search", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), body
        assert set(answer.json()) == {"error"}
    assert refusal(client.get("/api/nothing")) == (404, "NOT_FOUND")
    assert refusal(client.put("/api/search")) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "EMPTY"),
        (b"no sound at all", 422, "UNREADABLE"),
        (archive(), 422, "UNREADABLE"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", 422, "UNREADABLE"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 422, "UNREADABLE"),
        (wav(np.zeros(0, np.float32)), 422, None),
        (wav(tone(440, 10.5, RATE_HZ)), 422, "TOO_LARGE"),
        (bytes(200_001), 413, "TOO_LARGE"),
    ],
)
def test_what_is_no_sound_is_refused(client: TestClient, body: bytes, status: int, code: str | None) -> None:
    answer = client.post(SOUND, content=body)
    assert answer.status_code == status and answer.json()["error"]["code"] == (code or answer.json()["error"]["code"])
    assert "/tmp" not in answer.text and "foundsound-" not in answer.text


@pytest.fixture(scope="module")
def seer(made: Dataset) -> Iterator[TestClient]:
    """A service whose embedder sees: how red a picture is, is how low it sounds."""
    with client_of(make_service(made, Limits(upload_bytes=200_000, upload_s=10), Seeing())) as opened:
        yield opened


def test_a_picture_and_a_video_are_asked(seer: TestClient, tmp_path: Path) -> None:
    assert seer.get("/api/about").json()["sees"]
    for colour, name in (((250, 0, 0), "low"), ((0, 0, 250), "high")):
        assert clips(seer.post(PICTURE, content=still(colour), params={"k": 1})) == [clip_of(name)]
    video = coloured(tmp_path / "v.mp4", [(250, 0, 0)] * 10 + [(0, 250, 0)] * 90).read_bytes()
    assert set(clips(seer.post(PICTURE, content=video, params={"k": 2}))) == {clip_of("low"), clip_of("middle")}
    less = seer.post(PICTURE, content=still((250, 0, 250)), params={"minus": "220", "k": 1})
    assert clips(less) == [clip_of("high")]
    numbers = seer.get("/metrics").text
    assert "foundsound_picture_items_total" in numbers and "foundsound_connections_refused_total 0.0" in numbers
    assert clips(seer.post(SOUND, content=wav(tone(440, 1, RATE_HZ)), params={"k": 1})) == [clip_of("middle")]


def test_what_is_no_picture_is_refused(seer: TestClient, client: TestClient, tmp_path: Path) -> None:
    assert not client.get("/api/about").json()["sees"]
    assert refusal(client.post(PICTURE, content=still((1, 2, 3)))) == (400, "NO_PICTURES")
    huge = bytearray(still((1, 2, 3)))
    huge[16:24] = (60_000).to_bytes(4, "big") * 2  # 10 GB, once it is decoded
    longer = coloured(tmp_path / "v.mp4", [(250, 0, 0)] * 102).read_bytes()
    for body, expected in (
        (b"", (400, "EMPTY")),
        (b"no picture", (422, "UNREADABLE")),
        (archive(), (422, "UNREADABLE")),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", (422, "UNREADABLE")),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", (422, "UNREADABLE")),
        (still((1, 2, 3))[:40], (422, "UNREADABLE")),
        (bytes(huge), (422, "UNREADABLE")),
        (wav(tone(440, 1, RATE_HZ)), (422, "NO_VIDEO")),
        (longer, (422, "TOO_LARGE")),
        (bytes(200_001), (413, "TOO_LARGE")),
    ):
        answer = seer.post(PICTURE, content=body)
        assert refusal(answer) == expected, answer.text
        assert "/tmp" not in answer.text and "foundsound-" not in answer.text


def test_samples_that_are_no_numbers_are_refused_and_loud_ones_are_cut(client: TestClient) -> None:
    wave_T = tone(440, 1, RATE_HZ)
    for worst in (np.nan, np.inf):
        broken_T = np.where(np.arange(len(wave_T)) == 10, worst, wave_T).astype(np.float32)
        assert refusal(client.post(SOUND, content=wav(broken_T, subtype="FLOAT"))) == (422, "UNREADABLE")
    assert len(clips(client.post(SOUND, content=wav(9 * wave_T, subtype="FLOAT")))) == 4


def test_of_several_sounds_the_default_one_is_asked(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "low.wav").write_bytes(wav(tone(220, 2, RATE_HZ)))
    (tmp_path / "high.wav").write_bytes(wav(tone(880, 2, RATE_HZ)))
    low, high = (ffmpeg.input(str(tmp_path / name)).audio for name in ("low.wav", "high.wav"))
    both = tmp_path / "both.mka"
    options = {"disposition:a:0": 0, "disposition:a:1": "default", "v": "error"}
    ffmpeg.run(ffmpeg.output(low, high, str(both), acodec="flac", **options), cmd=ffmpeg_path())
    assert clips(client.post(SOUND, content=both.read_bytes(), params={"k": 1})) == [clip_of("high")]
    silent = coloured(tmp_path / "silent.mp4", [(1, 2, 3)] * 10).read_bytes()
    assert refusal(client.post(SOUND, content=silent)) == (422, "NO_AUDIO")


def test_a_long_sound_is_just_inside(client: TestClient) -> None:
    assert client.post(SOUND, content=wav(tone(440, 10, RATE_HZ))).status_code == 200


def test_a_body_without_a_length_is_counted(client: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(5):
            yield bytes(50_000)

    assert refusal(client.post(SOUND, content=pieces())) == (413, "TOO_LARGE")
    headers = {"content-type": "application/json"}
    assert refusal(client.post("/api/search", content=pieces(), headers=headers)) == (413, "TOO_LARGE")


def test_media_whole_and_in_part(client: TestClient, made: Dataset) -> None:
    address = f"/api/clips/{clip_of('low')}/sound"
    rows = {row["clip_id"]: row for row in read_rows(made, "train").to_pylist()}
    content = made.media.read(rows[clip_of("low")]["audio_sha256"], ".flac")
    whole = client.get(address)
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["content-type"] == "audio/flac" and whole.headers["accept-ranges"] == "bytes"
    part = client.get(address, headers={"range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, content[2:6])
    assert part.headers["content-range"] == f"bytes 2-5/{len(content)}"
    assert client.get(address, headers={"range": "bytes=-3"}).content == content[-3:]
    beyond = client.get(address, headers={"range": f"bytes={len(content)}-"})
    assert refusal(beyond) == (416, "RANGE") and beyond.headers["content-range"] == f"bytes */{len(content)}"
    etag = whole.headers["etag"]
    assert client.get(address, headers={"if-none-match": etag}).status_code == 304
    assert client.get(address, headers={"range": "bytes=0-0", "if-range": etag}).status_code == 206
    assert client.get(address, headers={"range": "bytes=0-0", "if-range": '"other"'}).status_code == 200
    head = client.head(address)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(content)))
    assert refusal(client.get(f"/api/clips/{clip_of('low')}/video")) == (404, "NO_VIDEO")


def test_a_spectrogram_is_a_picture_that_is_made_once(made: Dataset) -> None:
    service = make_service(made)
    with client_of(service) as client:
        address = f"/api/clips/{clip_of('low')}/spectrogram"
        first, second = client.get(address), client.get(address)
        assert first.content[:8] == b"\x89PNG\r\n\x1a\n" and first.content == second.content
        assert first.headers["content-type"] == "image/png"
        assert client.get(address, headers={"if-none-match": first.headers["etag"]}).status_code == 304
        numbers = client.get("/metrics").text
        assert "foundsound_spectrograms_made_total 1.0" in numbers
        assert "foundsound_spectrograms_kept_total 1.0" in numbers


@pytest.mark.parametrize("clip", ["..%2f..%2fetc%2fpasswd", "%2e%2e", "..", "x" * 3_000, "%00", "'; DROP TABLE clips"])
@pytest.mark.parametrize("what", ["", "/sound", "/video", "/spectrogram"])
def test_only_ids_lead_to_media(client: TestClient, clip: str, what: str) -> None:
    assert client.get(f"/api/clips/{clip}{what}").status_code in (404, 405)


def test_what_is_known_of_a_clip_names_no_path(client: TestClient, made: Dataset) -> None:
    facts = client.get(f"/api/clips/{clip_of('low')}").json()
    assert facts["captions"] == [CAPTIONS["low"]] and facts["video_id"] == "low"
    about = client.get("/api/about").json()
    assert about["clips"] == 4 and about["columns"]["measure.duration_s"] == "number"
    texts = [
        client.get("/api/about").text,
        client.get("/openapi.json").text,
        client.get("/metrics").text,
        json.dumps(facts),
        client.post("/api/search", json={"text": "440"}).text,
        client.post("/api/search", json={"text": "440", "where": "videos.root = 'x'"}).text,
    ]
    assert not [text for text in texts if str(made.path) in text or "audio_sha256" in text or ".flac" in text]
    assert not [name for name in about["columns"] if name.split(".")[-1] in ("root", "path", "url", "blob", "detail")]


def test_a_takedown_is_obeyed_at_once_and_the_index_follows(own: Dataset) -> None:
    service = make_service(own)
    with client_of(service) as client:
        assert len(clips(client.get("/api/search?text=440"))) == 4
        assert client.get(f"/api/clips/{clip_of('middle')}/sound").status_code == 200
        forget(own, ["middle"], drop=drop)
        assert set(clips(client.get("/api/search?text=440"))) == ALL - {clip_of("middle")}
        for what in ("", "/sound", "/spectrogram"):
            assert refusal(client.get(f"/api/clips/{clip_of('middle')}{what}")) == (404, "NOT_FOUND")
        assert refusal(client.post("/api/search", json={"clip": clip_of("middle")})) == (404, "NOT_FOUND")
        assert client.get("/api/about").json()["clips"] == 3
        service._collection.refresh()
        assert client.get("/api/about").json()["windows"] == 3
        assert client.get("/metrics").text.count("foundsound_taken_down_clips 0.0") == 1


def test_what_was_taken_down_hides_no_copies(own: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval_index.question._groups", lambda dataset, clip_ids: dict.fromkeys(clip_ids, "one"))
    with client_of(make_service(own)) as client:
        everything = {"text": "440"}
        (head,) = client.post("/api/search", json=everything).json()["hits"]
        assert head["clip_id"] == clip_of("middle") and len(head["copies"]) == 3
        forget(own, ["middle"], drop=drop)
        (head,) = client.post("/api/search", json=everything).json()["hits"]
        assert {head["clip_id"], *head["copies"]} == ALL - {clip_of("middle")}


def test_a_question_is_answered_by_one_snapshot(own: Dataset) -> None:
    """What is taken down is looked up in the catalogue of the index that is asked, which may be the one before."""
    collection = make_service(own)._collection
    before = collection.now
    forget(own, ["middle"], drop=drop)
    collection.refresh()
    assert clip_of("middle") not in [clip for clip in ALL if collection.now.catalogue.get(clip)]
    found = collection.ask(before, before.index.text_vectors(["440"]), Wanted(clips=4))
    assert {hit.clip_id for hit in found.hits} == ALL - {clip_of("middle")}


def test_a_damaged_part_is_said_and_the_service_goes_on(own: Dataset) -> None:
    service = make_service(own)
    with client_of(service) as client:
        for part in own.path.glob("facts/cut/*/part-01*.parquet"):
            part.write_bytes(b"PAR1" + bytes(100) + b"PAR1")
        build_index(own, without=frozenset({clip_of("low")}))
        assert not service._collection.refresh()
        assert len(clips(client.get("/api/search?text=440"))) == 4, "the one before is served on"


def test_all_is_ended_even_where_following_the_index_has_failed(made: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> bool:
        raise ZeroDivisionError

    service = make_service(made)
    ended = []
    monkeypatch.setattr("retrieval_index.service.app.REFRESH_S", 0.01)
    monkeypatch.setattr(service._collection, "refresh", fail)
    monkeypatch.setattr(service._collection, "close", lambda: ended.append(True))
    with client_of(service):
        time.sleep(0.1)
    assert ended


def test_filters_wait_for_each_other_only_so_long(own: Dataset) -> None:
    service = make_service(own, Limits(filter_s=0.05))
    with client_of(service) as client, service._collection._filtering:
        answer = client.post("/api/search", json={"text": "440", "where": "measure.duration_s > 0"})
    assert refusal(answer) == (503, "BUSY") and answer.headers["retry-after"] == "1"


def test_an_index_that_is_made_anew_takes_the_place_of_the_old_one(own: Dataset) -> None:
    service = make_service(own)
    with client_of(service) as client:
        assert not service._collection.refresh()
        build_index(own, without=frozenset({clip_of("low")}))
        assert service._collection.refresh()
        assert set(clips(client.get("/api/search?text=440"))) == ALL - {clip_of("low")}
        (own.folder("indexes") / "train" / "index.json").write_text("{")
        assert not service._collection.refresh()
        assert len(clips(client.get("/api/search?text=440"))) == 3, "the one before is served on"


def test_selections_are_made_only_where_that_is_allowed(own: Dataset) -> None:
    chosen = {"name": "few", "clip_ids": [clip_of("low"), clip_of("high"), clip_of("low")]}
    with client_of(make_service(own)) as client:
        assert refusal(client.post("/api/selections", json=chosen)) == (403, "READ_ONLY")
    with client_of(make_service(own, may_select=True)) as client:
        for name in ("../x", "a/b", ".hidden"):
            assert refusal(client.post("/api/selections", json={**chosen, "name": name})) == (400, "BAD_REQUEST")
        assert refusal(client.post("/api/selections", json={**chosen, "clip_ids": ["x" * 65]}))[0] == 422
        unknown = {**chosen, "clip_ids": [clip_of("low"), "x"]}
        assert refusal(client.post("/api/selections", json=unknown)) == (404, "NOT_FOUND")
        assert client.post("/api/selections", json=chosen).json() == {"name": "few", "asked": 2, "kept": 2}
        assert set(read_rows(own, "few", kept_only=True)["clip_id"].to_pylist()) == {clip_of("low"), clip_of("high")}
        assert refusal(client.post("/api/selections", json=chosen)) == (409, "EXISTS")
        assert refusal(client.post("/api/selections", json={**chosen, "name": "train"})) == (409, "EXISTS")


def test_a_token_is_asked_for(made: Dataset) -> None:
    service = make_service(made, access=Access(host="0.0.0.0", token=TOKEN))
    with client_of(service, "http://search.example") as client:
        for address in ("/api/about", "/api/search?text=440", f"/api/clips/{clip_of('low')}/sound", "/metrics"):
            assert refusal(client.get(address)) == (401, "TOKEN")
            assert refusal(client.get(address, headers={"authorization": f"Bearer {TOKEN}x"})) == (401, "TOKEN")
            assert client.get(address, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        for address in ("/", "/page.css", "/page.js", "/healthz"):
            assert client.get(address).status_code == 200
        assert refusal(client.post("/api/session", json={"token": "wrong"})) == (401, "TOKEN")
        begun = client.post("/api/session", json={"token": TOKEN})
        assert begun.status_code == 204
        cookie = begun.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and TOKEN not in cookie
        assert client.get("/api/about").status_code == 200, "the cookie is enough"


def test_other_sites_may_not_ask(client: TestClient) -> None:
    asked = {"json": {"text": "440"}}
    assert client.post("/api/search", **asked, headers={"origin": "http://127.0.0.1:8765"}).status_code == 200
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        assert refusal(client.post("/api/search", **asked, headers=headers)) == (403, "ORIGIN")
        assert refusal(client.get("/api/search?text=440", headers=headers)) == (403, "ORIGIN")
    for host in ("evil.example", "127.0.0.1.evil.example", "", "evil.example:8765"):
        assert refusal(client.get("/api/about", headers={"host": host})) == (421, "HOST")
    for broken in ("[", "[::1", "127.0.0.1]"):
        assert refusal(client.get("/api/about", headers={"host": broken})) == (421, "HOST")
        assert refusal(client.get("/api/about", headers={"origin": f"http://{broken}"})) == (403, "ORIGIN")
    for host in ("localhost:8765", "[::1]:8765", "127.0.0.1"):
        assert client.get("/api/about", headers={"host": host}).status_code == 200


def test_the_page_may_load_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    for name in ("/", "/page.css", "/page.js"):
        answer = client.get(name)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.get(name, headers={"if-none-match": answer.headers["etag"]}).status_code == 304


def test_numbers_are_counted_by_route_and_not_by_clip(client: TestClient) -> None:
    client.get(f"/api/clips/{clip_of('low')}")
    client.get("/nothing/of/the/kind")
    numbers = client.get("/metrics").text
    assert 'foundsound_requests_total{method="GET",route="/api/clips/{clip_id}",status="200"}' in numbers
    assert 'route="other",status="404"' in numbers and clip_of("low") not in numbers
    assert "foundsound_index_clips 4.0" in numbers and "foundsound_text_items_total" in numbers
    assert client.get("/healthz").json() == {"status": "ok"}


def test_decoded_sounds_are_files_of_a_moment(client: TestClient, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    client.post(SOUND, content=wav(tone(440, 1, RATE_HZ)))
    client.post(SOUND, content=b"no sound")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_gone_is_said_to_be(own: Dataset) -> None:
    with client_of(make_service(own)) as client:
        for file in own.path.glob("media/*/*.flac"):
            file.unlink()
        for what in ("/sound", "/spectrogram"):
            assert refusal(client.get(f"/api/clips/{clip_of('low')}{what}")) == (404, "NOT_FOUND")


def test_a_file_that_is_no_sound_has_no_picture(own: Dataset) -> None:
    with client_of(make_service(own)) as client:
        for file in own.path.glob("media/*/*.flac"):
            file.write_bytes(b"fLaC")
        assert refusal(client.get(f"/api/clips/{clip_of('low')}/spectrogram")) == (422, "UNREADABLE")


def test_vectors_that_are_no_numbers_are_refused(made: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pitches, "embed_text", lambda self, texts: np.full((len(texts), 4), np.nan, np.float32))
    with client_of(make_service(made)) as client:
        assert refusal(client.get("/api/search?text=440")) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("number", ["1e999", "9" * 900, "-1e-999", "0." + "1" * 900])
def test_numbers_beyond_all_bounds_tell_no_path(client: TestClient, made: Dataset, number: str) -> None:
    answer = client.post("/api/search", json={"text": "440", "where": f"clips.duration_ms > {number}"})
    assert answer.status_code in (200, 400) and str(made.path.parent) not in answer.text


def test_filters_are_kept_for_a_while(own: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(*arguments: Any, **options: Any) -> list[str]:
        asked.append(arguments)
        return clips_where(*arguments, **options)

    monkeypatch.setattr("retrieval_index.service.collection.clips_where", counted)
    collection = make_service(own)._collection
    assert collection.matching("measure.duration_s > 2.5") == collection.matching("measure.duration_s>2.5")
    assert len(asked) == 1
    monkeypatch.setattr("retrieval_index.service.collection.FRESH_S", -1.0)
    collection.matching("measure.duration_s > 2.5")
    assert len(asked) == 2
    monkeypatch.setattr("retrieval_index.service.collection.FRESH_S", 60.0)
    monkeypatch.setattr("retrieval_index.service.collection.KEPT_CLIPS", 3)
    for bound in (1.5, 2.5, 0.5):
        collection.matching(f"measure.duration_s > {bound}")
    assert len(collection._filters) == 1, "what all of them hold is bounded too"
