"""`guard` registers lists, says what they guard, and takes no list that would guard nothing unnoticed."""

from pathlib import Path

import pytest
import soundfile

from curation.dataset import Dataset
from curation.errors import ArgumentError
from pipelines.verbs.dedupe import dedupe
from pipelines.verbs.guard import guard
from pipelines.verbs.select import select
from tests.curation.duplicates.recordings import RATE_HZ, clip_of, melody, write_dataset

VIDEO = "dQw4w9WgXcQ"


@pytest.fixture
def clotho(tmp_path: Path) -> Path:
    captions = ",".join(f"caption_{n}" for n in range(1, 6))
    (tmp_path / "clotho.csv").write_text(
        f"file_name,{captions}\nSanta Motor.wav,a,b,c,d,e\nstreet_cafe.wav,a,b,c,d,e\n"
    )
    return tmp_path / "clotho.csv"


def test_a_list_of_names_needs_its_media_or_a_word(tmp_path: Path, clotho: Path) -> None:
    dataset = Dataset.create(tmp_path / "dataset").path
    with pytest.raises(ArgumentError, match=r"names files, not videos.*--media FOLDER.*--by-name"):
        guard(dataset, add=[f"clotho={clotho}"], kind="clotho")
    assert guard(dataset).as_dict() == {}
    shown = guard(dataset, add=[f"clotho={clotho}"], kind="clotho", by_name=True)
    assert "guards 0 spans, 2 file names" in str(shown) and shown.guards["clotho"]["sounds"] == 0


def test_a_folder_of_evaluation_media_is_looked_for(tmp_path: Path, clotho: Path) -> None:
    sounds = [{"video_id": "copy", "sound": 0.5 * melody(1)}, {"video_id": "other", "sound": melody(2)}]
    dataset = write_dataset(tmp_path / "dataset", sounds).path
    media = tmp_path / "media" / "deep"
    media.mkdir(parents=True)
    (media.parent / "notes.txt").write_text("no media")
    with pytest.raises(ArgumentError, match="has no sounds"):
        guard(dataset, add=[f"clotho={clotho}"], kind="clotho", media=media)
    assert guard(dataset).guards == {}
    soundfile.write(media / "Santa Motor.wav", melody(1, 12.0)[: 11 * RATE_HZ], RATE_HZ)
    assert guard(dataset, add=[f"clotho={clotho}"], kind="clotho", media=media.parent).guards["clotho"]["sounds"] == 1
    dedupe(dataset, workers=0)
    selected = select(dataset, guard="clotho", duplicates="duplicates").as_dict()
    assert selected["refused"] == {"DUPLICATE_OF_EVALUATION": 1}
    (media / "broken.wav").write_text("RIFF")
    with pytest.raises(ArgumentError, match="a guard with holes is none"):
        guard(dataset, add=[f"other={clotho}"], kind="clotho", media=media)
    with pytest.raises(ArgumentError, match="belongs to one list"):
        guard(dataset, media=media)


def test_the_table_shows_what_lists_share(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset", [{"video_id": VIDEO, "sound": melody(1, 1.0)}])
    (tmp_path / "eval.csv").write_text(f"{VIDEO},5,dog,test\nAAAAAAAAAAA,5,dog,test\n")
    result = guard(dataset.path, add=[f"eval={tmp_path / 'eval.csv'}"], kind="vggsound", table=True)
    assert result.guards["eval"] == {"spans": 2, "file_names": 0, "sounds": 0, "overlapping_clips": 1}
    assert result.as_dict()["overlaps"][0] == {
        "list": "eval",
        "spans": 2,
        "other": "listed",
        "by_video": 1,
        "in_time": 1,
    }
    assert "of the spans of" in str(result)
    assert select(dataset.path, guard="eval").as_dict()["refused"] == {"GUARD": 1}
    assert clip_of({"video_id": VIDEO}) in dataset.sql("SELECT clip_id FROM clips")["clip_id"].to_pylist()


def test_a_wrong_kind_or_a_hole_in_the_list_is_refused(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "dataset").path
    (tmp_path / "eval.csv").write_text("no id,5,dog,test\n")
    with pytest.raises(ArgumentError, match="'cloth' is none of"):
        guard(dataset, kind="cloth")
    with pytest.raises(ArgumentError, match="wants NAME=FILE"):
        guard(dataset, add=["eval.csv"])
    with pytest.raises(ArgumentError, match=r"line 1.*a guard with holes"):
        guard(dataset, add=[f"eval={tmp_path / 'eval.csv'}"], kind="vggsound")
