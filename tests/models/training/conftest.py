"""The toy of `toys.py` as a fixture."""

import pytest

from tests.models.training.toys import Toy


@pytest.fixture
def toy():
    return Toy()
