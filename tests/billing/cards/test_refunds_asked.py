"""Card top-ups through the one verb and the one page for refunds: customers within their days, staff later, back to the card."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Membership, Role, User
from billing import refund_books, refunds
from billing.cards import payments
from billing.cards.refunds import payment_of
from billing.models import Event, Lot, Refund, Wallet
from billing.money import BRL
from billing.refund_books import LIVE, RefundRefused
from tests.billing.cards.conftest import StripeSide, wait_until
from tests.make import make_top_up, make_usage, make_user, make_volume_plan
from tokia import clock


@pytest.fixture
def real_clock() -> Iterator[None]:
    yield
    clock.shift(0)


def make_card_lot(wallet: Wallet, stripe_side: StripeSide, brl: int = 50) -> Lot:
    payment = payments.open_checkout(wallet, amount_nanos=brl * BRL, by=None)
    stripe_side.check_out(payment)
    payment = payments.confirm_payment(payment)
    return Lot.everywhere.select_related("entry", "wallet__organization").get(entry__reference=f"stripe:{payment.intent_id}")


def money(wallet: Wallet) -> tuple[int, int]:
    wallet.refresh_from_db()
    return wallet.posted_nanos, wallet.held_nanos


def follow(asked: Refund) -> Refund:
    def is_decided() -> bool:
        Refund.objects.update(asked_at=None)
        refunds.sweep_refunds()
        asked.refresh_from_db()
        return asked.status not in LIVE

    wait_until(is_decided)
    return asked


def test_a_card_top_up_goes_back_to_its_card_by_one_click(wallet: Wallet, stripe_side: StripeSide) -> None:
    make_volume_plan()
    lot = make_card_lot(wallet, stripe_side)
    make_usage(wallet=wallet, gross_nanos=12 * BRL)
    person = make_user()
    Membership.everywhere.create(organization=wallet.organization, user=person, role=Role.FINANCE)
    client = Client()
    client.force_login(person)
    listed = client.get("/app/recargas/").content.decode()
    assert "Recarga com cartão" in listed and "Devolver R$\u00a038,00" in listed
    page = client.get(f"/app/recargas/{lot.pk}/devolver/").content.decode()
    pedido = re.search(r'name="pedido" value="([0-9a-f-]{36})"', page)
    assert pedido and "volta ao cartão" in page
    for _ in range(2):
        form = {"valor": "38,00", "pedido": pedido[1]}
        assert client.post(f"/app/recargas/{lot.pk}/devolver/", form).status_code == 302
    refund = follow(Refund.objects.get())
    assert (refund.status, refund.paid_by) == (Refund.Status.DONE, "card")
    assert money(wallet) == (0, 0)
    [told] = stripe_side.all("refund")
    assert told["amount"] == 3_800
    assert Event.everywhere.get(type="refund.done").payload["paid_by"] == "card"


def test_after_the_days_staff_return_it_in_the_admin(wallet: Wallet, stripe_side: StripeSide, real_clock: None) -> None:
    lot = make_card_lot(wallet, stripe_side)
    clock.shift(100 * 86_400)  # a card has no 90 days
    with pytest.raises(RefundRefused, match="Fale com o suporte"):
        refunds.refund_lot(lot, amount_nanos=BRL, by="x")
    clock.shift(0)
    staff = Client()
    staff.force_login(User.objects.create_superuser("ana@tokia.test", "a long enough password"))
    address = reverse("admin:billing_lot_refund", args=[lot.pk])
    assert "ao cartão" in staff.get(address).content.decode()
    assert staff.post(address, {"amount": "20,00", "reason": "Combinado por telefone"}).status_code == 302
    refund = follow(Refund.objects.get())
    assert (refund.status, refund.requested_by) == (Refund.Status.DONE, "ana@tokia.test")
    assert staff.get(reverse("admin:billing_refund_change", args=[refund.pk])).status_code == 200
    assert money(wallet) == (30 * BRL, 0)


def test_the_sweep_asks_again_what_stripe_never_heard(wallet: Wallet, stripe_side: StripeSide) -> None:
    lot = make_card_lot(wallet, stripe_side)
    refund = refund_books.open_refund(
        lot, refund_id=clock.new_id(), amount_nanos=20 * BRL, by="x", reason="caiu antes de pedir",
        card_payment=payment_of(lot),
    )  # fmt: skip
    assert money(wallet) == (50 * BRL, 20 * BRL) and stripe_side.all("refund") == []
    assert follow(refund).status == Refund.Status.DONE
    assert len(stripe_side.all("refund")) == 1 and money(wallet) == (30 * BRL, 0)


def test_each_top_up_goes_back_where_it_came_from(wallet: Wallet, stripe_side: StripeSide) -> None:
    card = make_card_lot(wallet, stripe_side)
    pix = Lot.everywhere.get(entry=make_top_up(wallet=wallet, brl="30.00"))
    assert [refunds.origin_of(lot) for lot in (card, pix)] == ["card", "pix"]
    lines = refunds.top_ups_of(wallet)
    assert [(line.lot.pk, line.origin, line.is_card) for line in lines] == [(pix.pk, "pix", False), (card.pk, "card", True)]
