"""What a build is made from: lists, guards that must be given, and the commands that come out."""

from pathlib import Path
from typing import Any

import pytest

from curation.errors import ArgumentError
from pipelines.builds import audiocaps, v2m, vggsound
from pipelines.builds.options import BuildOptions, Step
from pipelines.builds.run import check, until
from pipelines.verbs.ways import Ways

GUARDED = ("audiocaps-val=val.csv", "audiocaps-test=my files/test.csv")


def options(**changes: Any) -> BuildOptions:
    return BuildOptions(**{"out": Path("vgg"), "lists": ["vggsound.csv"], "guards": GUARDED, **changes})


def test_vggsound_is_a_list_of_commands_that_the_verbs_take() -> None:
    steps = vggsound.steps(options(sources=["http://mirror/{video_id}.mp4", "youtube"], embedder="clap", workers=0))
    assert [str(step) for step in steps] == [
        "foundsound manifest vggsound vggsound.csv --out vgg",
        "foundsound fetch vgg --from 'http://mirror/{video_id}.mp4' --from youtube --workers 0",
        "foundsound measure vgg --workers 0",
        "foundsound caption vgg --captioner label --workers 0",
        "foundsound embed vgg --embedder clap --workers 0",
        "foundsound dedupe vgg --name duplicates --workers 0",
        "foundsound guard vgg --add audiocaps-val=val.csv --kind audiocaps",
        "foundsound guard vgg --add 'audiocaps-test=my files/test.csv' --kind audiocaps",
        "foundsound select vgg --split train --duplicates duplicates --rules vggsound-faults "
        "--guard audiocaps-val,audiocaps-test",
        "foundsound select vgg --split test",
        "foundsound pack vgg --selection train",
        "foundsound pack vgg --selection test",
        "foundsound verify vgg --generation train",
        "foundsound verify vgg --generation test",
        "foundsound index vgg --selection train --embedder clap",
        "foundsound index vgg --selection test --embedder clap",
        "foundsound report vgg",
    ]
    check(steps)


def test_the_ways_out_go_with_the_fetch() -> None:
    ways = Ways(proxy=("http://a:1", "http://b:2"), rate=120.0, min_free="20GB", allow_old_ytdlp=True)
    steps = vggsound.steps(options(sources=["youtube"], ways=ways))
    assert str(steps[1]) == (
        "foundsound fetch vgg --from youtube --proxy http://a:1 --proxy http://b:2 --rate 120.0 --min-free 20GB "
        "--allow-old-ytdlp"
    )
    check(steps)


def test_audiocaps_takes_a_list_for_each_split() -> None:
    given = options(lists=["train=a.csv", "test=b.csv"], guards=["vggsound-test=t.csv"], tagger="mn04.pt")
    steps = audiocaps.steps(given)
    check(steps)
    words = [str(step).removeprefix("foundsound ") for step in steps]
    assert words[:2] == [
        "manifest audiocaps a.csv --out vgg --split train",
        "manifest audiocaps b.csv --out vgg --split test",
    ]
    assert "tag vgg --tagger mn04.pt" in words
    assert [text for text in words if text.startswith("select")] == [
        "select vgg --split train --duplicates duplicates --guard vggsound-test",
        "select vgg --split test",
    ]
    with pytest.raises(ArgumentError, match=r"'train\.csv'.*--list train=train.csv"):
        audiocaps.steps(options(lists=["train.csv"]))


def test_audiocaps_without_its_train_split_needs_no_guard() -> None:
    steps = audiocaps.steps(options(lists=["test=b.csv"], guards=()))
    assert "guard" not in {step.verb for step in steps}


def test_v2m_segments_and_wants_tags_for_its_rule() -> None:
    guards = ["v2m-bench=bench.txt", "musiccaps=m.csv"]
    steps = v2m.steps(options(lists=["V2M.txt"], guards=guards, tagger="mn04.pt"))
    check(steps)
    assert str(steps[0]) == "foundsound manifest v2m V2M.txt --out vgg --split train"
    assert [step.verb for step in steps[1:4]] == ["segment", "measure", "tag"]
    (select,) = (step for step in steps if step.verb == "select")
    assert " --rules v2m --guard v2m-bench,musiccaps" in str(select)
    with pytest.raises(ArgumentError, match=r"--tagger mn04\.pt"):
        v2m.steps(options(lists=["V2M.txt"], guards=guards))
    without = v2m.steps(options(lists=["V2M.txt"], guards=guards, rules=""))
    assert not [step for step in without if "--rules" in step.words]


def test_a_guard_that_is_not_given_stops_the_build_before_it_begins() -> None:
    with pytest.raises(ArgumentError, match=r"audiocaps-test: give --guard audiocaps-test=FILE, or say --unguarded"):
        vggsound.steps(options(guards=GUARDED[:1]))
    vggsound.steps(options(guards=GUARDED[:1], unguarded=["audiocaps-test"]))


@pytest.mark.parametrize("text", ["audiocaps-test", "mine=list.csv", "mine:table=", "=x.csv"])
def test_a_guard_that_cannot_be_understood(text: str) -> None:
    with pytest.raises(ArgumentError, match="--guard"):
        options(guards=[text]).guard_files(())


def test_a_guard_of_ones_own_has_its_layout() -> None:
    assert options(guards=["mine:table=a=b.csv"]).guard_files(()) == {"mine": ("table", "a=b.csv")}


def test_a_build_without_a_list_is_refused() -> None:
    with pytest.raises(ArgumentError, match="--list FILE"):
        options(lists=[])


def test_until_stops_behind_the_last_step_of_a_verb() -> None:
    steps = vggsound.steps(options())
    assert [step.verb for step in until(steps, "select")][-3:] == ["guard", "select", "select"]
    assert until(steps, None) == steps
    with pytest.raises(ArgumentError, match="'tag': this build has the steps manifest, fetch, measure"):
        until(steps, "tag")


def test_a_command_that_no_verb_takes_is_found_before_anything_runs() -> None:
    with pytest.raises(ArgumentError, match="foundsound measure vgg --loudly"):
        check([Step("measure", ("vgg", "--loudly", "yes"))])
