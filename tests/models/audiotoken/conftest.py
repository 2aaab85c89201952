"""Tiny frozen models, made once."""

import pytest

from models.audiotoken.generate import FrozenSources
from tests.models.audiotoken.tiny_audiotoken import save_listener, save_pictures


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frozen")
    return FrozenSources(
        pictures=str(save_pictures(folder / "pictures")), listener=str(save_listener(folder / "beats"))
    )


@pytest.fixture(scope="session")
def frozen(sources):
    return sources.load()
