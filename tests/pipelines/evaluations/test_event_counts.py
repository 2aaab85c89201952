"""How often events were trained on: labels of clips, buckets with their edges, the rarest of several."""

from pathlib import Path

import pytest

from curation.errors import ArgumentError
from pipelines.evaluations.event_counts import EDGES, Buckets, labels_of_clips, occurrences, rarest
from tests.curation.made import Made


def test_an_edge_is_the_first_number_of_its_bucket() -> None:
    buckets = Buckets()
    assert buckets.names == ["0", "1-10", "10-30", "30-50", "50-100", "100-500", "500+"]
    inside = {0: "0", 1: "1-10", 9: "1-10", 10: "10-30", 29: "10-30", 30: "30-50", 49: "30-50", 50: "50-100"}
    inside |= {99: "50-100", 100: "100-500", 499: "100-500", 500: "500+", 10**6: "500+"}
    assert {count: buckets.names[buckets.number(count)] for count in inside} == inside
    small = Buckets((1, 2, 4))
    assert small.names == ["0", "1", "2-4", "4+"] and small.number(3) == 2
    assert Buckets((3,)).names == ["0-3", "3+"] and EDGES[0] == 1
    for wrong in ((), (0, 1), (2, 1), (1, 1)):
        with pytest.raises(ArgumentError, match="--edge must be whole numbers from 1 that ascend"):
            Buckets(wrong)


def test_labels_are_those_of_all_lists_each_once(tmp_path: Path) -> None:
    written = Made(tmp_path)
    both = written.clip("both", said=[{"labels": ["dog", "rain"]}, {"labels": ["dog"]}])
    rain = written.clip("rain", said=[{"labels": ["rain"]}])
    none = written.clip("none", said=[{"captions": ["something"]}])
    dataset = written.dataset()
    labels = labels_of_clips(dataset, [both, rain, none])
    assert labels == {both: ["dog", "rain"], rain: ["rain"]}
    assert labels_of_clips(dataset, [rain]) == {rain: ["rain"]}
    assert occurrences(labels) == {"dog": 1, "rain": 2}


def test_a_clip_is_as_rare_as_its_rarest_label() -> None:
    assert rarest(["dog", "rain"], {"dog": 5, "rain": 2}) == "rain"
    assert rarest(["dog", "rain"], {"dog": 5}) == "rain"
    assert rarest(["rain", "dog"], {"rain": 2, "dog": 2}) == "dog"
