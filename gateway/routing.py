"""Which deployment is asked first. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gateway.calls import ServedDeployment


def attempt_order(deployments: Sequence[ServedDeployment], rng: random.Random) -> list[ServedDeployment]:
    """Every deployment once: lower priority numbers first; equal ones in a random order weighted by `weight`."""
    if len(deployments) == 1:
        return list(deployments)
    # Efraimidis and Spirakis: sorting by u^(1/w), descending, is a weighted sample without replacement.
    keyed = [(d.priority, -(rng.random() ** (1.0 / max(1, d.weight))), index) for index, d in enumerate(deployments)]
    return [deployments[index] for _, _, index in sorted(keyed)]
