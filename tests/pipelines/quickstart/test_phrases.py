import pytest

from pipelines.quickstart.phrases import CAPTIONS_PER_CLIP, PHRASES, QUERIES, captions_of
from pipelines.quickstart.sounds import CLASSES
from pipelines.quickstart.world import TRAIN_CLIPS


def test_every_class_has_phrases_and_queries() -> None:
    assert list(PHRASES) == list(CLASSES) == list(QUERIES)
    assert all(len(set(queries)) == 4 for queries in QUERIES.values())


@pytest.mark.parametrize("label", CLASSES)
def test_queries_recombine_words_of_training_captions_and_repeat_none(label: str) -> None:
    captions = {caption for number in range(TRAIN_CLIPS) for caption in captions_of(label, number)}
    words = {word for caption in captions for word in caption.split()}
    for query in QUERIES[label]:
        assert query not in captions
        assert set(query.split()) <= words


def test_no_caption_of_any_clip_is_a_query() -> None:
    captions = {caption for label in CLASSES for number in range(40) for caption in captions_of(label, number)}
    assert captions.isdisjoint({query for queries in QUERIES.values() for query in queries})


def test_no_two_classes_share_a_sentence() -> None:
    sentences = [s for label in CLASSES for s in {*captions_of(label, 0), *captions_of(label, 1), *QUERIES[label]}]
    assert len(sentences) == len(set(sentences))


def test_a_clip_has_different_captions() -> None:
    for number in range(8):
        assert len(set(captions_of("click train", number))) == CAPTIONS_PER_CLIP
