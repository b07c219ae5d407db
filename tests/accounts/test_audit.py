"""The audit log: append-only, without secrets, seen by its own organization alone."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client

from accounts import audit
from accounts.keys import mint_key, rotate_key
from accounts.models import AuditEvent, Membership
from accounts.suspension import suspend
from accounts.tenancy import tenant
from billing.budgets import set_budget
from billing.hooks import create_hook
from billing.money import BRL
from tests.cast import make_cast
from tokia import clock

pytestmark = pytest.mark.django_db
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"


def test_it_notes_who_did_what_and_from_where() -> None:
    cast = make_cast()
    with audit.origin(audit.Origin(ip="203.0.113.9", user_agent=CHROME, acted_by="ana@tokia.com.br")):
        event = audit.note("key_created", organization=cast.acme, user=cast.alice, detail={"name": "Produção"})
    assert (event.ip, event.user_agent) == ("203.0.113.9", "Chrome no Windows")
    assert event.detail == {"name": "Produção", "acted_by": "ana@tokia.com.br"}
    assert audit.note("key_created", organization=None, user=None, ip="nonsense").ip is None
    with pytest.raises(KeyError):
        audit.note("made_up", organization=None, user=None)


def test_it_keeps_no_secret() -> None:
    told = audit.clean(
        {
            "secret": "abc", "new_password": "abc", "text": "usei sk-tokia-0123456789abcdef0123 ontem", "ok": True, "n": 3,
            "inner": {"token": "abc"}, "long": "x" * 999, "list": ["whsec_0123456789abcdef"], "key": "sk-tokia-abc…wxyz",
        }
    )  # fmt: skip
    assert told["secret"] == told["new_password"] == told["inner"]["token"] == "••••"
    assert told["text"] == "usei •••• ontem" and told["list"] == ["••••"]
    assert told["key"] == "sk-tokia-abc…wxyz" and told["ok"] is True and told["n"] == 3 and len(told["long"]) == 300


def test_it_is_append_only_and_loses_only_what_points_at_a_person() -> None:
    cast = make_cast()
    event = audit.note("key_created", organization=cast.acme, user=cast.alice, detail={"name": "x"}, ip="203.0.113.9")
    rows = AuditEvent.everywhere.filter(pk=event.pk)
    changes: tuple[dict[str, Any], ...] = ({"kind": "signed_in"}, {"detail": {}}, {"ip": None}, {"redacted_at": clock.now()})
    for change in changes:
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            rows.update(**change)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        rows.delete()
    with pytest.raises(DatabaseError, match=r"append-only|permission denied"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("TRUNCATE accounts_auditevent")
    gone: dict[str, Any] = {"detail": {}, "ip": None, "user_agent": "", "redacted_at": clock.now()}
    assert rows.update(**gone) == 1
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        rows.update(**gone)


def test_it_is_seen_by_its_own_organization() -> None:
    cast = make_cast()
    audit.note("key_created", organization=cast.acme, user=cast.alice)
    with tenant(cast.globex):
        assert not AuditEvent.objects.exists()
    with tenant(cast.acme):
        assert AuditEvent.objects.count() == 1


def test_it_names_browsers() -> None:
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148 Safari/604.1"
    assert audit.describe_browser(phone) == "Safari no iPhone"
    assert audit.describe_browser(CHROME + " Edg/142.0") == "Edge no Windows"
    assert audit.describe_browser("python-requests/2.32 x") == "python-requests/2.32"
    assert audit.describe_browser("") == ""


def test_it_follows_what_people_do_without_their_secrets(client: Client) -> None:
    """Whichever door they come by: a verb notes who the request is of."""
    cast = make_cast()
    client.force_login(cast.alice)
    client.post("/app/equipe/", {"emails": "dora@acme.com.br", "role": "finance"})
    bob = Membership.everywhere.get(user=cast.bob)
    client.post(f"/app/equipe/{bob.pk}/papel/", {"role": "admin"})
    with audit.origin(audit.Origin(ip="203.0.113.9", user_of=lambda: cast.alice)):
        key, secret = mint_key(cast.acme, user=cast.alice, name="Produção", scopes=["call", "keys.write", "keys.read"])
        rotated = rotate_key(key, by=cast.alice)
        _, hook_secret = create_hook(cast.acme, url="https://acme.com.br/ouvir?senha=abc", name="erp")
        set_budget(cast.acme, by=cast.alice, scope="organization", window="month", limit_nanos=10 * BRL)
    client.delete(f"/api/v1/keys/{key.pk}", headers={"authorization": f"Bearer {rotated}"})
    with audit.origin(audit.Origin(user_of=lambda: cast.alice)):
        suspend(cast.acme, reason="teste")
    found = {event.kind: event for event in AuditEvent.everywhere.filter(organization=cast.acme)}
    assert set(found) >= {
        "member_invited", "role_changed", "key_created", "key_rotated", "key_revoked", "hook_created", "budget_set",
        "organization_suspended",
    }  # fmt: skip
    assert {event.user for event in found.values()} == {cast.alice}
    assert found["key_revoked"].detail["via"].startswith("Produção") and found["role_changed"].detail["to"] == "Administrador"
    assert found["key_created"].ip == "203.0.113.9" and found["member_invited"].ip == "127.0.0.1"
    told = str([event.detail for event in found.values()])
    for hidden in (secret, rotated, hook_secret, "senha=abc"):
        assert hidden not in told


def test_it_shows_filters_and_hands_out_the_log(client: Client) -> None:
    cast = make_cast()
    audit.note("key_created", organization=cast.acme, user=cast.alice, detail={"name": "=SOMA(A1)"}, ip="203.0.113.9")
    audit.note("member_invited", organization=cast.acme, user=cast.bob, detail={"email": "dora@acme.com.br"})
    audit.note("key_created", organization=cast.globex, user=cast.charlie, detail={"name": "da globex"})
    client.force_login(cast.bob)
    assert client.get("/app/configuracoes/seguranca/registro/").status_code == 403  # a developer
    client.force_login(cast.alice)
    page = client.get("/app/configuracoes/seguranca/registro/").content.decode()
    assert "Criou uma chave" in page and "203.0.113.9" in page and "dora@acme.com.br" in page and "globex" not in page.lower()
    for query, shown in (("o-que=key_created", 1), (f"quem={cast.bob.pk}", 1), ("desde=2020-01-01", 2), ("ate=2020-01-01", 0)):
        assert len(client.get(f"/app/configuracoes/seguranca/registro/?{query}").context["events"]) == shown, query
    assert "Limpar filtros" in client.get("/app/configuracoes/seguranca/registro/?ate=2020-01-01").content.decode()
    for nonsense in ("antes=x", "quem=-1", "desde=ontem", "o-que=nada", "antes=99999999999999999999"):
        assert client.get(f"/app/configuracoes/seguranca/registro/?{nonsense}").status_code == 200
    table = b"".join(client.get("/app/configuracoes/seguranca/registro.csv?o-que=key_created")).decode("utf-8-sig")
    assert "203.0.113.9" in table and "dora@" not in table and "globex" not in table
    assert AuditEvent.everywhere.filter(kind="export_asked", user=cast.alice).exists()
