"""The recibo of a top-up says who paid what, how and when, what went back since, and that it is no fiscal document."""

from __future__ import annotations

import io
import uuid

import pytest
from django.test import Client
from pypdf import PdfReader

from billing import ledger, seals
from billing.models import CardPayment, Charge, LedgerEntry, Lot, Refund
from billing.money import BRL
from billing.recibo import draw_recibo, find_recibo
from billing.wallets import wallet_of
from tests.cast import Cast, make_cast
from tests.make import make_top_up
from tokia import clock

pytestmark = pytest.mark.django_db
E2E = "E12345678202611221530abcdefghijk"


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


def read(cast: Cast, entry: LedgerEntry) -> str:
    found = find_recibo(cast.acme, entry_id=entry.pk)
    assert found is not None
    text = PdfReader(io.BytesIO(draw_recibo(found))).pages[0].extract_text()
    return " ".join(text.replace("\u00a0", " ").split())


def test_a_pix_top_up(cast: Cast) -> None:
    wallet = wallet_of(cast.acme)
    entry = make_top_up(wallet=wallet, brl="1234.56", end_to_end_id=E2E)
    now = clock.now()
    Charge.everywhere.create(
        id=clock.new_id(), wallet=wallet, txid=uuid.uuid4().hex, amount_nanos=1_234 * BRL, received_nanos=123_456 * BRL // 100,
        payments=[{"endToEndId": E2E, "valor": "1234.56", "horario": "2026-11-22T18:30:05.000Z"}], status=Charge.Status.PAID,
        created_at=now, expires_at=now,
    )  # fmt: skip
    text = read(cast, entry)
    for part in (
        "RECIBO DE RECARGA", f"Nº {entry.pk:08d}", "R$ 1.234,56", "Acme", "11.222.333/0001-81", E2E, "PIX", "22/11/2026 15:30:05",
        "mil duzentos e trinta e quatro reais e cinquenta e seis centavos", "não é documento fiscal", "NFS-e", "em preparo",
    ):  # fmt: skip
        assert part in text, part
    assert "Devoluções" not in text


def test_a_card_top_up_with_a_refund_and_its_seal(cast: Cast) -> None:
    wallet = wallet_of(cast.acme)
    entry = ledger.post_entry(
        kind=LedgerEntry.Kind.TOP_UP, reference="stripe:pi_123", wallet=wallet, amount_nanos=100 * BRL, book="world:stripe"
    )
    now = clock.now()
    payment = CardPayment.everywhere.create(
        id=clock.new_id(), wallet=wallet, how="saved", amount_nanos=100 * BRL, status="paid", intent_id="pi_123",
        paid_with="Visa •••• 4242", created_at=now, expires_at=now, paid_at=now,
    )  # fmt: skip
    Refund.objects.create(
        id=clock.new_id(), lot=Lot.everywhere.get(entry=entry), amount_nanos=40 * BRL, status=Refund.Status.DONE, done_at=now,
        reason="pedido", requested_by="alice", card_payment=payment,
    )  # fmt: skip
    seals.seal_entries()
    text = read(cast, entry)
    for part in ("4242", "pi_123", "cem reais", "R$ 40,00", "Valor que permanece R$ 60,00", seals.head().text):
        assert part in text, part


def test_the_same_facts_are_the_same_bytes(cast: Cast) -> None:
    entry = make_top_up(wallet=wallet_of(cast.acme), brl="10", end_to_end_id=E2E)
    found = [find_recibo(cast.acme, entry_id=entry.pk) for _ in range(2)]
    assert found[0] is not None and found[1] is not None
    assert draw_recibo(found[0]) == draw_recibo(found[1])


def test_only_its_organizations_finance_gets_it(cast: Cast) -> None:
    wallet = wallet_of(cast.acme)
    entry = make_top_up(wallet=wallet, brl="10")
    grant = ledger.grant(wallet, amount_nanos=BRL, reference="grant:x", actor="ana")
    for person, status in ((cast.carol, 200), (cast.bob, 403), (cast.charlie, 404)):
        client = Client()
        client.force_login(person)
        answer = client.get(f"/app/extrato/recibos/{entry.pk}.pdf")
        assert answer.status_code == status
    client.force_login(cast.carol)
    assert client.get(f"/app/extrato/recibos/{entry.pk}.pdf")["Content-Type"] == "application/pdf"
    assert client.get(f"/app/extrato/recibos/{grant.pk}.pdf").status_code == 404
    by_reference = client.get(f"/app/extrato/recibos/{entry.reference}/")
    assert by_reference.content == client.get(f"/app/extrato/recibos/{entry.pk}.pdf").content
    assert client.get("/app/extrato/recibos/pix:made-up/").status_code == 404
    page = client.get("/app/extrato/").content.decode()
    assert f"/app/extrato/recibos/{entry.pk}.pdf" in page and f"/recibos/{grant.pk}.pdf" not in page
