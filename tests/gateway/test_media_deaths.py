"""A gateway that dies, loses its ledger or stops in the middle of media: nothing is charged that was not settled, nothing twice."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connection

from billing.models import ExpiredHold, Hold
from billing.reconcile import find_violations
from tests.gateway.media_cast import make_routes, make_wav
from tests.gateway.world import Gateway, Tenant, World, await_true

WAV = make_wav(12.4)


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    return make_routes(world, "mini-tts", "4o", "whisper")


@pytest.fixture
def ready(world: World, routes: dict[str, str], tenant: Tenant) -> Tenant:
    world.await_served(tenant, *routes.values())
    world.sandbox.post("/llm/__reset")
    return tenant


def speak(gateway: Gateway, tenant: Tenant, model: str, **fields: Any) -> bytes:
    body = {"model": model, "input": "Uma frase longa. " * 60, "voice": "alloy", "response_format": "pcm", **fields}
    got = httpx.post(f"{gateway.url}/v1/audio/speech", json=body, headers=tenant.headers, timeout=30)
    assert got.status_code == 200, got.text
    return got.content


def listen(gateway: Gateway, tenant: Tenant, model: str, **fields: str) -> str:
    answer = httpx.post(
        f"{gateway.url}/v1/audio/transcriptions", data={"model": model, **fields}, files={"file": ("a.wav", WAV)},
        headers=tenant.headers, timeout=30,
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.parametrize("point", ["recv", "after_hold_commit", "before_upstream", "mid_stream", "before_settle", "after_settle"])
@pytest.mark.parametrize("surface", ["speech", "transcriptions"])
def test_a_gateway_that_dies_charges_only_what_it_settled(
    world: World, routes: dict[str, str], ready: Tenant, tmp_path: Path, point: str, surface: str
) -> None:
    doomed = Gateway(tmp_path, CRASHPOINT=point)
    doomed.start()
    try:
        world.await_served(ready, *routes.values(), gateway=doomed)
        with pytest.raises(httpx.TransportError):
            if surface == "speech":
                speak(doomed, ready, routes["mini-tts"])
            else:
                listen(doomed, ready, routes["4o"], stream="true")
        await_true(lambda: doomed.process is not None and doomed.process.poll() == -signal.SIGKILL)
    finally:
        doomed.stop(signal.SIGKILL)
    held = Hold.everywhere.filter(wallet_id=ready.wallet.pk).count()
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_close_session(id) FROM billing_gatewaysession WHERE state <> 'reaped'")
    wallet = ready.fresh()
    assert wallet.held_nanos == 0
    if point == "after_settle":
        [record] = ready.records()
        assert wallet.posted_nanos == 100 * 10**9 - record.net_nanos
    else:
        assert (wallet.posted_nanos, ready.records()) == (100 * 10**9, [])
        assert ExpiredHold.objects.filter(wallet_id=ready.wallet.pk).count() == held == (0 if point == "recv" else 1)
    assert list(find_violations()) == []


def test_a_drain_lets_sound_end(world: World, routes: dict[str, str], ready: Tenant, tmp_path: Path) -> None:
    """SIGTERM while sound is under way: it comes whole, and is settled once."""
    leaving = Gateway(tmp_path)
    leaving.start()
    world.await_served(ready, *routes.values(), gateway=leaving)
    world.sandbox.post("/llm/__delay", {"ms": 15})
    try:
        with httpx.stream(
            "POST", f"{leaving.url}/v1/audio/speech", headers=ready.headers, timeout=30,
            json={"model": routes["mini-tts"], "input": "Uma frase longa. " * 60, "voice": "alloy", "response_format": "pcm"},
        ) as answer:  # fmt: skip
            pieces = answer.iter_bytes()
            got = len(next(pieces))
            ended = threading.Thread(target=leaving.stop)
            ended.start()
            got += sum(len(piece) for piece in pieces)
        ended.join()
    finally:
        world.sandbox.post("/llm/__delay", {"ms": 2})
        leaving.stop()
    assert got == round(len("Uma frase longa. " * 60) / 15 * 24_000) * 2
    [record] = ready.records()
    assert (record.outcome, record.usage_source) == ("completed", "upstream")
