"""Answers of a stage by number: of each clip its own, of the medium that it has now, and who has none."""

from pathlib import Path

import pyarrow as pa
import pytest

from curation.answers import answers
from curation.dataset import Dataset
from curation.errors import ArgumentError, Code
from tests.curation.made import Made, write_facts
from tests.curation.test_stored_conditions import MadeEmbed


def embedded(folder: Path) -> tuple[Dataset, dict[str, str]]:
    """Clips that were embedded, set aside, passed over for now, and embedded as they were before they were cut anew."""
    written = Made(folder)
    keys = {name: written.clip(name, sound=n) for n, name in enumerate(("good", "bad", "later", "old"))}
    dataset = written.dataset()
    sounds = {row["key"]: row["audio_sha256"] for row in dataset.sql("SELECT key, audio_sha256 FROM cut").to_pylist()}
    states = {"good": "done", "bad": Code.NO_AUDIO, "later": Code.TIMEOUT, "old": "done"}
    write_facts(
        dataset,
        MadeEmbed(),
        [
            (keys[name], state, {"windows": n}, "another" if name == "old" else sounds[keys[name]])
            for n, (name, state) in enumerate(states.items())
        ],
    )
    return dataset, keys


def asked(dataset: Dataset, keys: list[str], *enough: str) -> pa.Table:
    line = "run it"
    return answers(dataset, "embed", "clap", pa.array(keys), kind="vectors", of="sounds", line=line, enough=enough)


def test_rows_are_in_the_order_of_the_keys_and_may_repeat(tmp_path: Path) -> None:
    dataset, keys = embedded(tmp_path)
    table = asked(dataset, [keys["good"], keys["bad"], keys["good"]], "done", "set_aside")
    assert table["windows"].to_pylist() == [0, None, 0] and table["key"].to_pylist()[1] == keys["bad"]
    assert "found" not in table.column_names


def test_only_what_is_enough_may_lack_an_answer(tmp_path: Path) -> None:
    dataset, keys = embedded(tmp_path)
    with pytest.raises(
        ArgumentError, match=rf"1 of 2 clips .* no vectors 'clap' of their sounds, {keys['bad']} .* run it"
    ):
        asked(dataset, [keys["good"], keys["bad"]], "done")
    for name in ("later", "old"):
        with pytest.raises(ArgumentError, match=f"{keys[name]} among them"):
            asked(dataset, [keys["good"], keys[name]], "done", "set_aside", "nothing")
    table = asked(dataset, ["f" * 20, keys["good"]], "done", "nothing")
    assert table["windows"].to_pylist() == [None, 0], "a clip that was not cut has no sound"
    with pytest.raises(ArgumentError, match="no tokens 'clap' of pictures; run it"):
        answers(dataset, "tag", "clap", pa.array([]), kind="tokens", of="pictures", line="run it")
