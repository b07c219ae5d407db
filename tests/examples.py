"""How many examples hypothesis plays in `make test`, and in `make torture`. `tests.conftest` says which."""

from __future__ import annotations

import os

IS_LONG = os.environ.get("TORTURE") == "long"


def examples(most: int) -> int:
    """Of a test that plays `most` in the long form; the suite plays a fifth of them."""
    return most if IS_LONG else most // 5
