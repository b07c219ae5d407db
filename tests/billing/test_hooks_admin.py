"""What staff see of events and webhooks: all but the secrets; a message is sent again with a reason."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from accounts.models import User
from billing.events import tell
from billing.hooks import change_hook, create_hook
from billing.models import Event, Hook, HookDelivery
from tests.make import make_organization

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ana@tokia.test", "a long enough password"))
    return client


@pytest.fixture
def hook() -> Hook:
    organization = make_organization(name="Acme")
    hook, _ = create_hook(organization, url="https://hooks.acme.com.br/x", name="ERP")
    tell(organization, "wallet.low_balance", reference="a", payload={"available": "18.40", "threshold": "20.00"})
    return hook


def test_they_look_at_everything_but_the_secret(staff: Client, hook: Hook) -> None:
    for name, pk in (("event", Event.everywhere.get().pk), ("hook", hook.pk), ("hookdelivery", HookDelivery.everywhere.get().pk)):
        listed = staff.get(f"/admin/billing/{name}/")
        assert listed.status_code == 200 and "Acme" in listed.content.decode(), name
        whole = staff.get(f"/admin/billing/{name}/{pk}/change/")
        assert whole.status_code == 200, name
        assert bytes(hook.secret).decode() not in whole.content.decode() and "whsec_" not in whole.content.decode()
        assert staff.get(f"/admin/billing/{name}/add/").status_code == 403
        assert staff.post(f"/admin/billing/{name}/{pk}/delete/", {"post": "yes"}).status_code == 403
    assert "saldo baixo (R$\u00a018,40)" in staff.get(f"/admin/billing/event/{Event.everywhere.get().pk}/change/").content.decode()


def test_they_send_a_message_again_with_a_reason(staff: Client, hook: Hook) -> None:
    delivery = HookDelivery.everywhere.get()
    HookDelivery.everywhere.update(status=HookDelivery.Status.FAILED, due_at=None, attempts=10)
    path = f"/admin/billing/hookdelivery/{delivery.pk}/reenviar/"
    assert staff.get(path).status_code == 200
    delivery.refresh_from_db()
    assert delivery.status == "failed", "a look changes nothing"
    staff.post(path, {"reason": "o cliente pediu"})
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == ("due", 0)
    assert "o cliente pediu" in LogEntry.objects.get().change_message
    change_hook(hook, is_active=False)
    assert "Ligue o webhook" in staff.post(path, {"reason": "de novo"}).content.decode()
