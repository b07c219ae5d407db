"""`Idempotency-Key`: the same request again is answered again, and done once."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
from django.db import connection, connections

from accounts import idempotency
from accounts.models import ApiKey, IdempotentRequest, Invitation
from billing.models import Charge
from billing.pix import charges
from tests.api.world import World, ask, told
from tokia import clock

KEYS = "/api/v1/keys"


def test_it_makes_one_key_and_tells_its_secret_again(world: World) -> None:
    acme = world.acme
    answers = [ask("post", KEYS, secret=acme.secret, body={"name": "uma"}, idempotency_key="abc") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert len({answer.content for answer in answers}) == 1
    assert ["Idempotent-Replayed" in answer for answer in answers] == [False, True, True]
    assert ApiKey.everywhere.filter(name="uma").count() == 1
    other = ask("post", KEYS, secret=acme.secret, body={"name": "outra"}, idempotency_key="abc")
    assert (other.status_code, told(other)["code"]) == (422, "idempotency_key_reused")
    elsewhere = ask("post", "/api/v1/projects", secret=acme.secret, body={"name": "uma"}, idempotency_key="abc")
    assert elsewhere.status_code == 422
    assert ask("post", KEYS, secret=world.globex.secret, body={"name": "uma"}, idempotency_key="abc").status_code == 201
    sister = acme.key_with("keys.write", "call")
    assert ask("post", KEYS, secret=sister, body={"name": "uma"}, idempotency_key="abc").status_code == 201
    assert ask("post", KEYS, secret=acme.secret, body={"name": "uma"}).status_code == 201


def test_it_keeps_no_secret_that_a_reader_of_the_database_could_use(world: World) -> None:
    secret = told(ask("post", KEYS, secret=world.acme.secret, body={"name": "uma"}, idempotency_key="abc"))["secret"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT accounts_idempotentrequest::text FROM accounts_idempotentrequest")
        [(row,)] = cursor.fetchall()
    assert secret not in row and secret.encode().hex() not in row


def test_it_leaves_the_key_free_where_nothing_was_done(world: World) -> None:
    body = {"scope": "project", "subject_id": 2**40, "window": "day", "limit_brl": "5.00"}
    for _ in range(2):
        assert ask("post", "/api/v1/budgets", secret=world.acme.secret, body=body, idempotency_key="k").status_code == 400
    body["subject_id"] = world.acme.project.pk
    assert ask("post", "/api/v1/budgets", secret=world.acme.secret, body=body, idempotency_key="k").status_code == 201
    for odd in ("", "x" * 256, "a\tb"):
        assert ask("post", KEYS, secret=world.acme.secret, body={"name": "x"}, idempotency_key=odd).status_code == 400


def test_it_goes_on_where_a_process_died_on_its_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A top-up commits before the bank is told: its row waits, and whoever comes too soon is told to."""
    opened: list[Any] = []

    def open_charge(wallet: Any, *, amount_nanos: int, by: Any) -> Charge:
        opened.append(amount_nanos)
        if len(opened) == 1:
            raise SystemExit  # the process dies
        return world.acme.charge

    monkeypatch.setattr(charges, "open_charge", open_charge)
    body, path = {"amount_brl": "50.00"}, "/api/v1/top-ups"

    def press() -> Any:
        return ask("post", path, secret=world.acme.secret, body=body, idempotency_key="pix")

    with pytest.raises(SystemExit):
        press()
    waiting = press()
    assert (waiting.status_code, told(waiting)["code"]) == (409, "conflict") and waiting["Retry-After"]
    IdempotentRequest.everywhere.update(started_at=clock.now() - dt.timedelta(seconds=idempotency.STALE_SECONDS + 1))
    assert press().status_code == 201 and press()["Idempotent-Replayed"] == "true"
    assert opened == [50 * 10**9] * 2


def test_it_frees_the_key_where_the_bank_was_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from billing.pix.errors import PspUnavailable

    def open_charge(*_: Any, **__: Any) -> Charge:
        raise PspUnavailable("connection refused to 10.0.0.7")

    monkeypatch.setattr(charges, "open_charge", open_charge)
    answer = ask("post", "/api/v1/top-ups", secret=world.acme.secret, body={"amount_brl": "50.00"}, idempotency_key="pix")
    assert (answer.status_code, told(answer)["code"]) == (503, "psp_unavailable")
    assert b"10.0.0.7" not in answer.content
    assert not IdempotentRequest.everywhere.exists()


def test_it_forgets_after_a_day(world: World) -> None:
    ask("post", KEYS, secret=world.acme.secret, body={"name": "uma"}, idempotency_key="abc")
    assert idempotency.purge() == 0
    IdempotentRequest.everywhere.update(started_at=clock.now() - dt.timedelta(hours=25))
    assert idempotency.purge() == 1


def test_it_invites_once(world: World, mailoutbox: list[Any]) -> None:
    body = {"email": "nova@acme.com.br", "role": "developer"}
    for _ in range(2):
        answer = ask("post", "/api/v1/invitations", secret=world.acme.secret, body=body, idempotency_key="i")
        assert answer.status_code == 201 and told(answer)["is_mailed"]
    assert len(mailoutbox) == 1 and Invitation.everywhere.filter(email="nova@acme.com.br").count() == 1


def test_it_makes_one_key_of_twelve_requests_at_once(committed_db: None) -> None:
    world = World()
    found: list[bytes] = []
    gate = threading.Barrier(12)

    def press() -> None:
        gate.wait()
        try:
            answer = ask("post", KEYS, secret=world.acme.secret, body={"name": "corrida"}, idempotency_key="race")
            assert answer.status_code == 201, answer.content
            found.append(answer.content)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=press) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12 and len(set(found)) == 1
    assert ApiKey.everywhere.filter(name="corrida").count() == 1
