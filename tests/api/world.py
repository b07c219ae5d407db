"""Acme and Globex with one of everything that `/api/v1` names, and ways to ask for it."""

from __future__ import annotations

import datetime as dt
import functools
import json
import uuid
import zlib
from typing import Any

from django.core.cache import cache
from django.http import HttpResponse
from django.test import Client

from accounts.keys import mint_key
from accounts.members import invite
from accounts.models import ApiKey, Invitation, Membership, Organization, Role, User
from accounts.projects import create_project
from accounts.scopes import CALL, SCOPES
from billing.budgets import set_budget
from billing.events import tell
from billing.export_tables import Wanted
from billing.hooks import create_hook
from billing.models import (
    AutoTopUp,
    Budget,
    Card,
    CardPayment,
    Charge,
    Event,
    Export,
    ExportPiece,
    Hook,
    HookDelivery,
    Refund,
    UsageRecord,
)
from billing.money import BRL
from invoices.models import Invoice
from tests.api.operations import Served
from tests.cast import Cast, make_cast
from tests.invoices.papers import make_note
from tests.make import make_usage, make_wallet
from tokia import clock

ALL = list(SCOPES)
# What an example of OpenAPI can't be sent as: where ids or the outside are concerned.
BODIES: dict[str, dict[str, Any]] = {
    "create_top_up": {"amount_brl": "1.00"}, "create_card_top_up": {"amount_brl": "1.00"},  # less than anybody may
    "rename_project": {"name": "Outro nome"},
}  # fmt: skip


class Side:
    """One organization: its things, and its owner's key with every scope."""

    def __init__(self, organization: Organization, *, owner: User, mark: str) -> None:
        self.organization, self.owner = organization, owner
        self.membership = Membership.everywhere.select_related("organization", "user").get(user=owner)
        self.key, self.secret = mint_key(organization, user=owner, name=f"{mark}-key", scopes=ALL)
        self.project = create_project(organization, by=owner, name=f"{mark}-project")
        self.wallet = make_wallet(organization=organization)
        self.call_id = clock.new_id()
        make_usage(
            wallet=self.wallet, gross_nanos=BRL, id_=self.call_id, route_name=f"{mark}/model", api_key_id=self.key.pk,
            project_id=self.project.pk, tags=[f"{mark}-tag"], provider_name="openai",
            attempts=[{"provider": "openai", "model": "gpt", "ms": 12, "status": 200}],
        )  # fmt: skip
        self.invitation, _ = invite(self.membership, email=f"{mark}@example.com.br", role=Role.FINANCE)
        self.budget = set_budget(
            organization, by=owner, scope="project", subject_id=self.project.pk, window="month", limit_nanos=5 * BRL
        )
        self.hook, _ = create_hook(organization, url=f"https://example.com.br/{mark}", name=f"{mark}-hook")
        self.event = tell(
            organization, "wallet.low_balance", reference=f"test:{mark}", payload={"available": mark, "threshold": "20.00"}
        )
        self.delivery = HookDelivery.everywhere.filter(hook=self.hook).first() or HookDelivery.everywhere.create(
            hook=self.hook, event=self.event, due_at=clock.now()
        )
        now = clock.now()
        self.charge = Charge.everywhere.create(
            id=clock.new_id(), wallet=self.wallet, txid=f"tk{uuid.uuid4().hex}", amount_nanos=77 * BRL, brcode=mark,
            status=Charge.Status.PENDING, created_at=now, expires_at=now + dt.timedelta(hours=1),
        )  # fmt: skip
        self.card = Card.everywhere.create(
            organization=organization,
            stripe_id=f"pm_{mark}",
            brand="visa",
            last4="4242",
            exp_month=8,
            exp_year=2030,
            is_default=True,
        )
        self.payment = CardPayment.everywhere.create(
            id=clock.new_id(), wallet=self.wallet, how=CardPayment.How.CHECKOUT, amount_nanos=55 * BRL, created_at=now,
            status=CardPayment.Status.PENDING, page_url=f"https://example.com.br/{mark}", expires_at=now + dt.timedelta(hours=1),
        )  # fmt: skip
        today = clock.today_in_brazil()
        self.export = Export.everywhere.create(
            id=clock.new_id(), organization=organization, kind=Export.Kind.USAGE, form=Export.Form.PLAIN, bytes=len(mark),
            filters=Wanted(Export.Kind.USAGE, Export.Form.PLAIN, today, today).as_json(), status=Export.Status.DONE,
        )  # fmt: skip
        ExportPiece.objects.create(export=self.export, number=0, data=zlib.compress(mark.encode()))
        self.invoice = make_note(organization, cancel_reason=mark, verification_code=mark[:40])
        lot = self.wallet.lots.get()
        self.refund = Refund.objects.create(id=uuid.uuid4(), lot=lot, end_to_end_id=mark[:32], amount_nanos=BRL, reason=mark,
                                            requested_by=mark, status=Refund.Status.REFUSED)  # fmt: skip

    @property
    def values(self) -> dict[str, Any]:
        """Every parameter of every address."""
        return {
            "key_id": self.key.pk, "project_id": self.project.pk, "member_id": self.membership.pk,
            "invitation_id": self.invitation.pk, "budget_id": self.budget.pk, "top_up_id": self.charge.pk,
            "card_top_up_id": self.payment.pk, "export_id": self.export.pk, "invoice_id": self.invoice.pk,
            "call_id": self.call_id, "hook_id": self.hook.pk, "delivery_id": self.delivery.pk,
            "event_id": self.event.pk if self.event else 0,
        }  # fmt: skip

    def state(self) -> list[Any]:
        """All that a stranger could have moved."""
        ours = self.organization
        rows = (
            Organization.objects.filter(pk=ours.pk), Membership.everywhere.filter(organization=ours),
            ApiKey.everywhere.filter(organization=ours), Invitation.everywhere.filter(organization=ours),
            ours.projects.all(), Budget.everywhere.filter(organization=ours), Charge.everywhere.filter(wallet=self.wallet),
            UsageRecord.everywhere.filter(organization=ours), Hook.everywhere.filter(organization=ours),
            HookDelivery.everywhere.filter(hook=self.hook), Event.everywhere.filter(organization=ours),
            Refund.objects.filter(lot__wallet=self.wallet), Card.everywhere.filter(organization=ours),
            CardPayment.everywhere.filter(wallet=self.wallet), AutoTopUp.everywhere.filter(wallet=self.wallet),
            Export.everywhere.filter(organization=ours), Invoice.everywhere.filter(organization=ours),
        )  # fmt: skip
        self.wallet.refresh_from_db()
        return [[*found.order_by("pk").values()] for found in rows] + [self.wallet.posted_nanos, self.wallet.held_nanos]

    def key_with(self, *scopes: str, user: User | None = None) -> str:
        """The secret of a new key."""
        _, secret = mint_key(self.organization, user=user or self.owner, name="/".join(scopes)[:60], scopes=scopes)
        return secret


class World:
    def __init__(self) -> None:
        cache.clear()
        self.cast: Cast = make_cast()
        self.acme = Side(self.cast.acme, owner=self.cast.alice, mark="segredo-da-acme")
        self.globex = Side(self.cast.globex, owner=self.cast.charlie, mark="da-globex")

    def bob(self) -> Membership:
        return Membership.everywhere.get(user=self.cast.bob)


def ask(method: str, path: str, *, secret: str = "", body: Any = None, client: Client | None = None, **headers: str) -> Any:
    """One request, as the JSON that a program sends."""
    if secret:
        headers["authorization"] = f"Bearer {secret}"
    raw = body if isinstance(body, bytes | str) else json.dumps(body)
    if client is None:
        client = _program()
        client.cookies.clear()
    answer = client.generic(
        method.upper(), path, raw if body is not None else b"", content_type="application/json",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )  # fmt: skip
    if not answer.streaming:
        return answer
    return HttpResponse(b"".join(answer), status=answer.status_code, headers=dict(answer.items()))


@functools.cache
def _program() -> Client:
    """One for all: a client's first request builds the whole middleware."""
    return Client()


def body_for(served: Served, side: Side | None = None) -> Any:
    """A body that could be good: the example of OpenAPI, or what stands in BODIES; with a side, its project's id in it."""
    if served.operation.body is None:
        return None
    body = dict(BODIES.get(served.name, served.operation.body.example))
    ours = {"project_id": side.project.pk, "subject_id": side.project.pk, "card_id": side.card.pk} if side else {}
    return body | {name: value for name, value in ours.items() if name in body}


def told(answer: HttpResponse) -> Any:
    return json.loads(answer.content) if answer.content else None


NO_CALL = [scope for scope in ALL if scope != CALL]
