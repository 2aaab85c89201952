"""The deny list is written once a name, read as keys and channels, and asked in SQL by every view."""

from pathlib import Path

import pyarrow.parquet as pq

from curation.keys import video_key
from curation.takedowns.deny import Denied, denied, denied_ids, deny
from tests.curation.made import Made


def row(video_id: str | None, channel_id: str | None = None) -> dict[str, object]:
    known = (
        {"platform": "youtube", "video_id": video_id, "video_key": video_key("youtube", video_id)} if video_id else {}
    )
    return {**known, "channel_id": channel_id}


def test_nothing_is_denied_before_the_first_row(tmp_path: Path) -> None:
    assert denied(tmp_path) == Denied(video_keys=frozenset(), channel_ids=frozenset())
    assert not denied(tmp_path).refuses("x", None) and not denied_ids(tmp_path)


def test_a_name_is_kept_once_and_a_video_of_a_channel_does_not_deny_it(tmp_path: Path) -> None:
    deny(tmp_path, [row("a", "UCa"), row(None, "UCb")])
    deny(tmp_path, [row("a"), row(None, "UCb"), row("b")])
    rows = [found for part in sorted((tmp_path / "deny").glob("part-*")) for found in pq.read_table(part).to_pylist()]
    assert [(found["video_id"], found["channel_id"]) for found in rows] == [("a", "UCa"), (None, "UCb"), ("b", None)]
    assert denied_ids(tmp_path) == {("youtube", "a"), ("youtube", "b")}
    found = denied(tmp_path)
    assert found.video_keys == {video_key("youtube", name) for name in "ab"} and found.channel_ids == {"UCb"}
    assert found.refuses("other", "UCb") and not found.refuses("other", "UCa")


def test_views_leave_out_what_is_denied(tmp_path: Path) -> None:
    made = Made(tmp_path)
    clips = [made.clip(name, said=[{}, {"grain": "video"}]) for name in ("a", "it's", "c")]
    dataset = made.dataset("it's")
    deny(dataset.path, [row("it's")])
    assert dataset.sql("SELECT video_id FROM videos ORDER BY 1")["video_id"].to_pylist() == ["a", "c"]
    assert dataset.sql("SELECT clip_id FROM clips")["clip_id"].to_pylist().count(clips[1]) == 0
    keys = dataset.sql("SELECT key FROM annotations")["key"].to_pylist()
    assert len(keys) == 4 and not {clips[1], video_key("youtube", "it's")} & set(keys)
