"""What pictures are worth by judges whose answers are known, and the evaluation of a run on a dataset."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from curation.errors import ArgumentError
from curation.selections.selection import select
from curation.shards.pack import pack
from models.audiotoken import AudioToken
from models.audiotoken.generate import FrozenSources
from models.encoders.sound_picture import SoundPictureConfig, SoundPictureNetwork, save_judge
from pipelines.evaluations.picture_scores import Judged, score
from pipelines.evaluations.pictures import pictures
from pipelines.wiring.picture_judges import PictureJudge, load_judge
from tests.curation.made import Made
from tests.models.audiotoken.tiny_audiotoken import embedder, save_listener, save_pictures

LABELS = ("a", "b", "c", "d")


def shade(number, more=0):
    """A picture of a class: a grey, whose vector is a direction."""
    return np.full((2, 2, 3), 40 * number + more, np.uint8)


def see(shown):
    angles = np.array([one.mean() for one in shown]) / 100
    return np.float32(np.stack([np.cos(angles), np.sin(angles)], axis=1))


JUDGE = PictureJudge(
    name="own:toy",
    identity={"weights_sha256": "0" * 64},
    see=see,
    classes=lambda shown, labels: [LABELS[round(float(one.mean()) / 40)] for one in shown],
    hear=lambda waves: see([np.full((1, 1, 3), 40 * wave[0]) for wave in waves]),
)


def judged(made):
    return Judged(
        labels=LABELS,
        sounds=[np.float32([number]) for number in range(4)],
        made=made,
        true=[shade(number) for number in range(4)],
        again=[shade(number, 1) for number in range(4)],
        real=[shade(number, more) for number in range(4) for more in (0, 1)],
    )


def test_pictures_that_are_right_have_all_of_it():
    made, other, true = score(JUDGE, judged([shade(number) for number in range(4)])).rows
    assert (made.aic, made.ais, made.iis) == (1.0, 1.0, 1.0) and made.fid < 0.1
    assert (true.aic, true.ais, true.iis) == (1.0, 1.0, 1.0)
    assert other.of == "made for other sounds" and other.aic < 1 and other.ais < 1 and other.fid is None


def test_one_picture_for_every_sound_is_chance():
    made, *_ = score(JUDGE, judged([shade(1)] * 4)).rows
    assert made.aic == 0.25 and made.fid > 0.1
    assert 0 < made.iis < 1


def test_a_judge_that_hears_nothing_has_no_ais():
    deaf = PictureJudge(name="clip:toy", identity=JUDGE.identity, see=see, classes=JUDGE.classes)
    table = score(deaf, judged([shade(number) for number in range(4)]))
    assert [row.ais for row in table.rows] == [None] * 3
    assert "clip:toy (00000000), 4 pictures of 4 labels" in str(table) and " -" in str(table)


def test_a_judge_for_fid_alone_says_nothing_else():
    eye = PictureJudge(name="inception:toy", identity=JUDGE.identity, see=see, classes=None)
    rows = score(eye, judged([shade(number) for number in range(4)])).rows
    assert [row.of for row in rows] == ["made", "true, another moment"]
    assert all(row.aic is None and row.ais is None and row.iis is None and row.fid < 0.1 for row in rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audiotoken")
    sources = FrozenSources(
        pictures=str(save_pictures(folder / "pictures")), listener=str(save_listener(folder / "beats"))
    )
    model, listener = sources.load()
    AudioToken(embedder(), pictures=model, listener=listener).save_pretrained(folder / "run" / "model", sources)
    made = Made(folder)
    for number in range(6):
        made.clip(f"v{number}", picture=True, said=[{"labels": [LABELS[number % 2]]}])
    dataset = made.dataset()
    select(dataset, name="test")
    pack(dataset, "test", clips_per_shard=10)
    config = SoundPictureConfig(labels=LABELS, side_px=16, window_samples=4_800, width=4, dimension=4)
    torch.manual_seed(0)
    save_judge(SoundPictureNetwork(config), config, folder / "judge")
    return folder / "run", dataset, folder / "judge"


def test_a_run_is_judged_and_its_pictures_are_made_once(run):
    made, dataset, judge = run
    asked = {"real": f"{dataset.path}@test", "judge": [f"own:{judge}"], "steps": 2}
    found = pictures(made, **asked)
    files = sorted(found.folder.glob("*.png"))
    assert len(files) == 6 and Image.open(files[0]).size == (16, 16)
    times = [file.stat().st_mtime_ns for file in files]
    again = pictures(made, **asked)
    assert [file.stat().st_mtime_ns for file in files] == times
    assert again.as_dict() == found.as_dict() == json.loads(found.report.read_text())
    (table,) = found.tables
    assert table.pictures == 6 and table.labels == 2
    assert table.identity["class"] == "SoundPictureJudge" and len(table.identity["weights_sha256"]) == 64
    assert "AIC %" in str(found) and "Fréchet distance of the judge's own vectors" in str(found)


def test_what_cannot_be_judged_is_said(run, tmp_path):
    made, dataset, judge = run
    real, own = f"{dataset.path}@test", [f"own:{judge}"]
    with pytest.raises(ArgumentError, match="names no generation"):
        pictures(made, real=str(dataset.path), judge=own)
    with pytest.raises(ArgumentError, match="--clips must be 4 to that many"):
        pictures(made, real=real, judge=own, clips=7)
    with pytest.raises(ArgumentError, match="--guidance must be a finite number"):
        pictures(made, real=real, judge=own, guidance=float("nan"))
    with pytest.raises(ArgumentError, match=r"--judge own:.*none"):
        pictures(made, real=real, judge=[f"own:{tmp_path / 'none'}"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists(), "no picture is made that nobody judges"
    with pytest.raises(ArgumentError, match="pictures are judged by KIND:WEIGHTS with a kind of clip"):
        load_judge("vgg")
    with pytest.raises(ArgumentError, match="hears by itself"):
        load_judge(own[0], hears="wav2clip:x")
    with pytest.raises(ArgumentError, match=r"holds no judge|No such file"):
        load_judge(f"own:{tmp_path}")
    with pytest.raises(ArgumentError, match="knows no label 'z'"):
        load_judge(own[0]).classes([shade(0)], ["z"])
