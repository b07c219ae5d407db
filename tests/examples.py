"""How many examples hypothesis plays, and which: in `make test` always the same ones, in `make torture` others each time."""

from __future__ import annotations

import os

from hypothesis import settings

IS_LONG = os.environ.get("TORTURE") == "long"

settings.register_profile("suite", derandomize=True, deadline=None)
settings.register_profile("long", deadline=None)
settings.load_profile("long" if IS_LONG else "suite")


def examples(most: int) -> int:
    """Of a test that plays `most` in the long form; the suite plays a third of them."""
    return most if IS_LONG else most // 3
