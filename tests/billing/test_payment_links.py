"""A charge for whoever has its link: the code and nothing else, while it lasts; and what the bank says before it is booked."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.charge_states import state_of
from billing.models import Charge, PixNotice, UnmatchedPix
from billing.money import BRL
from billing.payment_links import find_charge, link_of
from tests.cast import Cast, make_cast
from tests.make import make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db
LINK = re.compile(r"/pagar/[\w:-]+/")
CODE = "00020126580014br.gov.bcb.pix0136123e4567-e12b-12d1-a456-4266554400005204000053039865802BR63041D3D"


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@pytest.fixture
def charge(cast: Cast) -> Charge:
    now = clock.now()
    return Charge.everywhere.create(
        id=clock.new_id(), wallet=make_wallet(organization=cast.acme, brl="412.87"), txid="t" * 30, amount_nanos=500 * BRL,
        status=Charge.Status.PENDING, brcode=CODE, created_at=now, expires_at=now + dt.timedelta(minutes=30),
    )  # fmt: skip


def change(charge: Charge, **fields: Any) -> None:
    Charge.everywhere.filter(pk=charge.pk).update(**fields)
    charge.refresh_from_db()


def path_of(charge: Charge) -> str:
    return "/pagar/" + link_of(charge).partition("/pagar/")[2]


def test_a_stranger_with_the_link_sees_the_code_and_no_balance(client: Client, cast: Cast, charge: Charge) -> None:
    client.force_login(cast.alice)
    owner = client.get(reverse("charge", args=[charge.pk])).content.decode()
    path = LINK.findall(owner)[0]  # a link says when it was made: that of the next second is another
    assert "Enviar ao financeiro" in owner
    answer = Client().get(path)
    page = answer.content.decode()
    assert answer.status_code == 200 and CODE in page and "R$\u00a0500,00" in page and "Acme" in page and "<svg" in page
    assert "412,87" not in page and "/app/" not in page
    assert (
        "noindex" in answer["X-Robots-Tag"] and answer["Referrer-Policy"] == "no-referrer" and "no-store" in answer["Cache-Control"]
    )
    assert client.post(path).status_code == 405
    assert Client().get(path + "situacao/?de=awaiting").status_code == 204


def test_a_made_up_or_outlived_link_says_nothing(charge: Charge) -> None:
    path = path_of(charge)
    for wrong in ("/pagar/x/", path[:-3] + "A/", path.replace("/pagar/", "/pagar/x")):
        page = Client().get(wrong)
        assert page.status_code == 404 and "Acme" not in page.content.decode(), wrong
    change(charge, expires_at=clock.now() - dt.timedelta(seconds=1))
    page = Client().get(path)
    assert page.status_code == 404 and "não vale mais" in page.content.decode() and CODE not in page.content.decode()
    over = Client().get(path + "situacao/?de=awaiting")
    assert over.status_code == 286 and "não vale mais" in over.content.decode()
    paid = [{"endToEndId": "E" * 32, "valor": "500.00", "horario": clock.now().isoformat()}]
    change(charge, status=Charge.Status.PAID, received_nanos=500 * BRL, payments=paid)
    assert "Pagamento recebido" in Client().get(path).content.decode()
    change(charge, expires_at=clock.now() - dt.timedelta(days=2))
    token = path.removeprefix("/pagar/").rstrip("/")
    assert find_charge(token) is None


def test_it_tells_a_payment_that_is_seen_and_not_booked(client: Client, cast: Cast, charge: Charge) -> None:
    assert state_of(charge).name == "awaiting"
    notice = PixNotice.objects.create(digest=b"x" * 32, end_to_end_id="E" * 32, txid=charge.txid, payload={}, due_at=clock.now())
    assert state_of(charge).name == "confirming"
    client.force_login(cast.alice)
    assert "Liberando o saldo" in client.get(reverse("charge", args=[charge.pk])).content.decode()
    assert "Pagamento identificado" in Client().get(path_of(charge) + "situacao/?de=awaiting").content.decode()
    PixNotice.objects.filter(pk=notice.pk).update(status=PixNotice.Status.DONE)
    UnmatchedPix.objects.create(end_to_end_id="E" * 32, txid=charge.txid, amount_nanos=BRL, payload={}, paid_at=clock.now())
    assert state_of(charge).name == "under_review"
    page = client.get(reverse("charge", args=[charge.pk])).content.decode()
    assert "Estamos conferindo este pagamento" in page and "wa.me" in page
