from __future__ import annotations

import pytest
from pytest_django import Settings

from tests.api.world import World


@pytest.fixture
def world(db: None, settings: Settings) -> World:
    settings.API_REQUESTS_PER_MINUTE = 100_000
    return World()
