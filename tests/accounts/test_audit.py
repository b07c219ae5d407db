"""The audit log: append-only, without secrets, seen by its own organization alone."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from accounts import audit
from accounts.models import AuditEvent
from accounts.tenancy import tenant
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
