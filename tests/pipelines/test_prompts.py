"""Prompts of a call: files of them are read line by line and say which line is wrong; media are read once."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from curation.errors import ArgumentError
from pipelines.prompts import Media, Prompt, read_prompts


class Codec:
    sample_rate_hz, channels = 8_000, 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "bell.wav", 0.1 * np.ones(4_000), 8_000)
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    return tmp_path


def test_jsonl_and_csv_say_the_same(folder: Path) -> None:
    rows = [{"text": "rain, loud", "seed": 7}, {"image": "grey.png", "music": "bell.wav"}]
    (folder / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    (folder / "a.csv").write_text('text,image,music,seed\n"rain, loud",,,7\n,grey.png,bell.wav,\n')
    expected = [
        Prompt(text="rain, loud", seed=7),
        Prompt(image=folder / "grey.png", music=folder / "bell.wav"),
    ]
    assert read_prompts(folder / "a.jsonl") == expected
    assert read_prompts(folder / "a.csv") == expected
    for name in ("a.jsonl", "a.csv"):  # as spreadsheets save them, with a mark at the beginning
        (folder / name).write_text((folder / name).read_text(), encoding="utf-8-sig")
        assert read_prompts(folder / name) == expected


def test_what_is_said_is_part_of_a_prompt_and_of_its_name(folder: Path) -> None:
    (folder / "a.jsonl").write_text('{"transcript": "seven"}\n{"text": "a man", "transcript": "one"}\n')
    expected = [Prompt(transcript="seven"), Prompt(text="a man", transcript="one")]
    assert read_prompts(folder / "a.jsonl") == expected
    assert expected[1].identity() == {**Prompt(text="a man").identity(), "transcript": "one"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "rain", "neither .jsonl nor .csv"),
        ("a.jsonl", "", "holds no prompt"),
        ("a.jsonl", '{"text": "rain"}\n{"text": ""}\n', "prompt 2: a prompt says nothing"),
        ("a.jsonl", '{"text": "rain", "colour": "red"}\n', "prompt 1: unknown fields colour"),
        ("a.jsonl", '{"text": "rain"}\n{"text": "rain"\n', r"prompt 2: .* line 1 column 16"),
        ("a.jsonl", "[1]\n", "prompt 1: .* no object"),
        ("a.jsonl", '{"text": 3}\n', "text is 3"),
        ("a.jsonl", '{"transcript": ["x"]}\n', r"transcript is \['x'\]: it must be a string"),
        ("a.jsonl", '{"transcript": "\\ud800"}\n', "prompt 1: .*is not Unicode"),
        ("a.csv", "text,seed\nrain,soon\n", "prompt 1: seed is 'soon': it must be a whole number"),
        ("a.jsonl", '{"text": "rain", "seed": Infinity}\n', "prompt 1: seed is inf"),
        ("a.jsonl", '{"text": "rain", "seed": 1.5}\n', r"prompt 1: seed is 1\.5"),
        ("a.jsonl", '{"text": "rain", "seed": true}\n', "prompt 1: seed is True"),
        ("a.jsonl", '{"text": "rain", "seed": ' + "9" * 5000 + "}\n", "prompt 1: Exceeds the limit"),
        ("a.jsonl", "[" * 100_000, "prompt 1: maximum recursion depth"),
        ("a.csv", "text,seed\nrain, loud,7\n", "prompt 1: there are more values than names in the header"),
        ("a.jsonl", '{"text": "\\ud800"}\n', "prompt 1: .*is not Unicode"),
        ("a.csv", "text\n" + "x" * 131_073 + "\n", "cannot be read as prompts: field larger"),
        ("a.csv", "text,audio\nrain,gone.wav\n", "there is no audio .*gone.wav"),
        ("a.csv", "text,audio,music\nrain,bell.wav,bell.wav\n", "both audio and music"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused(folder: Path, name: str, content: str, said: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(ArgumentError, match=said):
        read_prompts(folder / name)


def test_media_come_as_arrays_and_are_read_once(folder: Path) -> None:
    media = Media(side_px=8, codec=Codec(), seconds=1.0)
    prompt = Prompt(image=folder / "grey.png", music=folder / "bell.wav")
    picture, before = media.of(prompt, "image"), media.of(prompt, "music")
    assert picture.shape == (8, 8, 3)
    assert abs(int(picture.mean()) - 90) <= 4
    assert before.shape == (1, 4_000)
    assert media.of(prompt, "video") is None
    (folder / "bell.wav").unlink()
    assert media.of(prompt, "music") is before


def test_a_video_is_as_long_as_the_sound(folder: Path) -> None:
    import av

    with av.open(str(folder / "v.mp4"), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for level in (20, 60, 100, 140, 180):
            for _ in range(2):
                frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), level, np.uint8), "rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    prompt = Prompt(video=folder / "v.mp4")
    whole = [20, 60, 100, 140, 180]
    for seconds, expected in ((1.0, whole), (0.4, whole[:2]), (1.4, [*whole, 180, 180])):
        seen = Media(side_px=8, codec=Codec(), seconds=seconds).of(prompt, "video")
        assert seen.mean((1, 2, 3)).tolist() == pytest.approx(expected, abs=6)


def test_what_cannot_be_read_is_an_argument_that_is_wrong(folder: Path) -> None:
    media = Media(side_px=8, codec=Codec(), seconds=1.0)
    with pytest.raises(ArgumentError, match=r"the audio .*grey\.png cannot be used"):
        media.of(Prompt(audio=folder / "grey.png"), "audio")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sound_that_is_not_finite_is_refused(folder: Path, value: float) -> None:
    samples = np.zeros(800, np.float32)
    samples[100] = value
    soundfile.write(folder / "bad.wav", samples, 8_000, subtype="FLOAT")
    with pytest.raises(ArgumentError, match=r"bad\.wav.* not finite"):
        Media(side_px=8, codec=Codec(), seconds=1.0).of(Prompt(audio=folder / "bad.wav"), "audio")
