"""What `TORTURE=long` changes in tests that run in both forms."""

from __future__ import annotations

import os

IS_LONG = os.environ.get("TORTURE") == "long"
# What was promised within two seconds. The suites run four parts side by side, so the long form alone asks for just that.
IN_FORCE_SECONDS = 2.0 if IS_LONG else 8.0


def examples(most: int) -> int:
    """How many hypothesis plays (`tests.conftest`): `most` in the long form; the suite plays a fifth of them."""
    return most if IS_LONG else most // 5
