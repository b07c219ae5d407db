"""Who reads the pages of money."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.test import Client

from tests.cast import Cast


@pytest.fixture
def reader(client: Client, cast: Cast) -> Client:
    """Alice, who chose English."""
    client.force_login(cast.alice)
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = "en"
    return client
