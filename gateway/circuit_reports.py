"""The circuits as an administrator sees them, and what he may do with them. Synchronous; the hot path never comes here."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

from gateway import circuit_board as board
from gateway.circuit_board import Circuit, name_circuit
from gateway.circuit_rules import CLOSED, HALF_OPEN, OPEN
from tokia.errors import TokiaError

log = logging.getLogger(__name__)
ANSWER_SECONDS = 0.5
FORCE_SECONDS_MAX = 7 * 86_400


class CircuitsUnavailable(TokiaError):
    """Valkey did not answer: nothing was changed."""

    code = "circuits_unavailable"
    status = 503
    retryable = True


@dataclass(frozen=True, slots=True)
class CircuitState:
    """One circuit, as all processes together see it. Deployment 0: the credential itself, at all of its deployments."""

    state: str  # "closed", "open", "half_open": in force
    reason: str = ""  # why it opened: "outage", "rate_limit", "credential"
    seconds_left: float = 0.0  # of the pause
    succeeded: int = 0  # within GATEWAY_CIRCUIT_WINDOW_SECONDS
    failed: int = 0
    forced: str = ""  # "open", "closed": by an administrator
    forced_seconds_left: float = 0.0


def read_circuits() -> dict[Circuit, CircuitState]:
    """By deployment and credential: all that were asked lately, are not closed, or are forced. Empty where Valkey is away."""
    try:
        with _valkey().pipeline(transaction=True) as pipeline:
            pipeline.time()
            for key in (board.BOARD, board.FORCED, board.COUNTS):
                pipeline.hgetall(key)
            (seconds, micros), told, forced, counts = pipeline.execute()
    except (RedisError, OSError) as error:
        log.warning("circuits not read: %s", type(error).__name__)
        return {}
    now_ms = seconds * 1000 + micros // 1000
    transitions, forces = board.read_board(told, now_ms), board.read_forced(forced, now_ms)
    asked = board.read_counts(counts, now_ms)
    return {
        circuit: _state_of(transitions.get(circuit), forces.get(circuit), asked.get(circuit, (0, 0)))
        for circuit in sorted({*transitions, *forces, *asked})
    }


def _state_of(seen: board.Transition | None, force: board.Force | None, asked: tuple[int, int]) -> CircuitState:
    state, reason, left = CLOSED, "", 0.0
    if seen is not None and seen.reason:
        state, reason, left = OPEN if seen.remaining > 0 else HALF_OPEN, seen.reason, max(0.0, seen.remaining)
    if force is not None and force.state:
        return CircuitState(force.state, reason, left, *asked, force.state, force.remaining)
    return CircuitState(state, reason, left, *asked)


def force_circuit(deployment_id: int, credential_id: int, state: str, seconds: int) -> None:
    """As "open" it is asked only where nobody else is left, as "closed" whatever is measured. In force in all processes within a
    second, for so long. Raises CircuitsUnavailable, ValueError."""
    if state not in (OPEN, CLOSED) or not 0 < seconds <= FORCE_SECONDS_MAX:
        raise ValueError("A circuit is forced open or closed, for a week at most.")
    _run(board.FORCE, (deployment_id, credential_id), state, seconds * 1000)


def lift_force(deployment_id: int, credential_id: int) -> None:
    """What is measured counts again. Raises CircuitsUnavailable."""
    _run(board.FORCE, (deployment_id, credential_id), "", 60_000)


def close_circuit(deployment_id: int, credential_id: int) -> None:
    """Begin anew, as after a repair: a key that was changed, a provider that said it is back. Raises CircuitsUnavailable."""
    _run(board.CLOSE, (deployment_id, credential_id), board.ADMINISTRATOR)


def _run(script: str, circuit: Circuit, *arguments: Any) -> None:
    try:
        _valkey().eval(script, 2, board.BOARD, board.FORCED, name_circuit(circuit), *arguments)
    except (RedisError, OSError) as error:
        log.warning("circuit %s not changed: %s", name_circuit(circuit), type(error).__name__)
        raise CircuitsUnavailable("O Valkey não respondeu; o circuito ficou como estava.") from error


@lru_cache(maxsize=1)
def _valkey() -> Redis:
    return Redis.from_url(settings.VALKEY_URL, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS)
