"""The pages of cards as their readers meet them, and staff's pages of the same rows."""

from __future__ import annotations

import re
import uuid

import pytest
from django.test import Client
from pytest_django import Settings

from billing import card_views
from billing.cards import auto_top_ups, disputes, holders, payments
from billing.models import AutoTopUp, Card, CardPayment, StripeEvent, Wallet
from billing.money import BRL
from billing.wallets import wallet_of
from tests.billing.cards.conftest import StripeSide, save_card
from tests.cast import Cast, make_cast
from tests.make import make_user

Status = CardPayment.Status


@pytest.fixture
def cast(db: None, stripe_side: StripeSide) -> Cast:
    return make_cast()


@pytest.fixture
def client(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(card_views, "ASK_AGAIN_SECONDS", 0)  # tests come back from Stripe's page sooner than people
    client = Client()
    client.force_login(cast.carol)
    return client


@pytest.fixture
def wallet(cast: Cast) -> Wallet:
    return wallet_of(cast.acme)


def text(answer: object) -> str:
    return str(answer.content.decode())  # type: ignore[attr-defined]


def pay(client: Client, **form: str) -> object:
    return client.post("/app/recarregar/cartao/", {"valor": "100", "como": "novo", "pedido": str(uuid.uuid4()), **form})


def test_it_leads_to_stripes_page_and_back_to_the_balance(client: Client, wallet: Wallet, stripe_side: StripeSide) -> None:
    page = text(client.get("/app/recarregar/cartao/"))
    assert "R$&nbsp;100" in page and "Salvar este cartão" in page and 'aria-current="page">Cartão<' in page
    answer = pay(client, guardar="on")
    payment = CardPayment.everywhere.get()
    assert answer.status_code == 302 and answer["Location"] == payment.page_url  # type: ignore[attr-defined,index]
    assert payment.created_by is not None and payment.created_by.email == "carol@acme.com.br"
    waiting = text(client.get(f"/app/recarregar/cartao/{payment.id}/"))
    assert "Aguardando pagamento" in waiting and "Ir para o pagamento" in waiting
    assert "R$\xa0100,00" in text(client.get("/app/recarregar/cartao/"))
    status = f"/app/recarregar/cartao/{payment.id}/situacao/"
    assert client.get(f"{status}?de=page").status_code == 204
    stripe_side.check_out(payment)
    back = text(client.get(f"/app/recarregar/cartao/{payment.id}/?voltou=1"))
    assert "Pagamento confirmado" in back and "Visa •••• 4242" in back
    ended = client.get(f"{status}?de=page")
    assert ended.status_code == 286 and ended["HX-Trigger"] == "saldo-mudou"
    assert "Visa •••• 4242" in text(client.get("/app/recarregar/cartoes/"))


def test_it_says_what_a_declined_card_said_and_keeps_the_request_after_silence(
    client: Client, wallet: Wallet, stripe_side: StripeSide
) -> None:
    card = save_card(wallet.organization, "pm_card_chargeCustomerFail")
    answer = pay(client, como=str(card.pk))
    failed = text(client.get(answer["Location"]))  # type: ignore[index]
    assert "Pagamento recusado" in failed and "Nada foi cobrado" in failed and "Pagar por PIX" in failed
    stripe_side.post("faults", create=["503"])
    asked = str(uuid.uuid4())
    silent = pay(client, como="novo", pedido=asked)
    assert silent.status_code == 503 and asked in text(silent) and "nada é cobrado duas vezes" in text(silent)  # type: ignore[attr-defined]
    assert pay(client, como="novo", pedido=asked).status_code == 302  # type: ignore[attr-defined]
    assert CardPayment.everywhere.filter(pk=asked).count() == 1


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"valor": "outro", "outro": "5"}, 400),
        ({"valor": "outro", "outro": "abc"}, 400),
        ({"como": "999"}, 400),
        ({"pedido": "x"}, 400),
    ],
)
def test_it_refuses_what_is_no_top_up(client: Client, wallet: Wallet, form: dict[str, str], status: int) -> None:
    assert pay(client, **form).status_code == status  # type: ignore[attr-defined]
    assert not CardPayment.everywhere.exists()


def test_it_shows_the_bank_that_asks_and_the_pix(
    client: Client, wallet: Wallet, stripe_side: StripeSide, settings: Settings
) -> None:
    card = save_card(wallet.organization, "pm_card_authenticationRequired")
    asked = pay(client, como=str(card.pk))
    payment = CardPayment.everywhere.get()
    page = text(client.get(asked["Location"]))  # type: ignore[index]
    assert "Confirmar no banco" in page and payment.page_url in page
    stripe_side.answer_bank(payment, says="nao")
    client.post(f"/app/recarregar/cartao/{payment.id}/conferir/")
    page = text(client.get(f"/app/recarregar/cartao/{payment.id}/"))
    assert "O banco do cartão quer falar com você" in page and "Confirmar o pagamento" in page
    assert client.post(f"/app/recarregar/cartao/{payment.id}/confirmar/").status_code == 302
    payment.refresh_from_db()
    assert payment.status == Status.PENDING
    settings.STRIPE_HAS_PIX = True
    by_pix = pay(client, como="pix")
    assert "Pix Copia e Cola" in text(client.get(by_pix["Location"]))  # type: ignore[index]


def test_it_saves_removes_and_chooses_cards(client: Client, wallet: Wallet, stripe_side: StripeSide) -> None:
    assert "Nenhum cartão salvo" in text(client.get("/app/recarregar/cartoes/"))
    to_stripe = client.post("/app/recarregar/cartoes/salvar/")["Location"]
    back = stripe_side.client.post(to_stripe, data={"numero": "5555555555554444"}).headers["location"]
    query = back.partition("?")[2]
    assert "salvo." in text(client.get(f"/app/recarregar/cartoes/?{query}", follow=True))
    client.get(f"/app/recarregar/cartoes/?{query}")
    first, second = Card.everywhere.get(), save_card(wallet.organization)
    assert (first.is_default, second.is_default) == (True, False)
    client.post(f"/app/recarregar/cartoes/{second.pk}/principal/")
    client.post(f"/app/recarregar/cartoes/{second.pk}/remover/")
    first.refresh_from_db()
    second.refresh_from_db()
    assert first.is_default and second.status == "removed"
    assert [card["id"] for card in stripe_side.all("payment_method") if card["customer"]] == [first.stripe_id]


def test_a_session_of_another_organization_saves_nothing(client: Client, cast: Cast, stripe_side: StripeSide) -> None:
    holders.holder_of(cast.acme)
    url = holders.open_saving(cast.globex, by=cast.charlie)
    stripe_side.client.post(url, data={"numero": "4242424242424242"})
    client.get(f"/app/recarregar/cartoes/?sessao={url.rsplit('/', 1)[1]}")
    assert not Card.everywhere.exists()


def test_the_automatic_top_up_is_switched_on_changed_and_off(client: Client, wallet: Wallet, stripe_side: StripeSide) -> None:
    page = "/app/recarregar/automatica/"
    assert "salve um cartão" in text(client.get(page))
    card = save_card(wallet.organization)
    form = {"threshold": "50", "amount": "200,00", "day_max": "400", "month_max": "1.000,00", "card": str(card.pk)}
    assert "Marque a autorização" in text(client.post(page, form))
    low = text(client.post(page, form | {"agreed": "on", "day_max": "100"}))
    assert "não pode ser menor que uma recarga" in low and not AutoTopUp.everywhere.exists()
    on = text(client.post(page, form | {"agreed": "on"}, follow=True))
    assert "Recarga automática ligada" in on and "Desligar agora" in on and 'value="1000,00"' in on
    auto = AutoTopUp.everywhere.get()
    assert (auto.is_on, auto.month_max_nanos, auto.changed_by) == (True, 1_000 * BRL, "carol@acme.com.br")
    assert "A recarga automática usa este cartão" in text(client.get("/app/recarregar/cartoes/"))
    off = text(client.post(f"{page}desligar/", follow=True))
    assert "Recarga automática desligada" in off and "Desligada" in off


def test_without_stripe_there_are_no_cards(client: Client, settings: Settings) -> None:
    settings.STRIPE_SECRET_KEY = ""
    assert "/app/recarregar/cartao/" not in text(client.get("/app/recarregar/"))
    for path in ("cartao/", "cartoes/", "automatica/"):
        assert client.get(f"/app/recarregar/{path}").status_code == 404


def test_a_developer_has_no_business_with_cards(cast: Cast) -> None:
    client = Client()
    client.force_login(cast.bob)
    for path in ("cartao/", "cartoes/", "automatica/"):
        assert client.get(f"/app/recarregar/{path}").status_code == 403


def test_staff_sees_it_all_and_asks_stripe_again(cast: Cast, wallet: Wallet, stripe_side: StripeSide) -> None:
    card = save_card(cast.acme)
    payment = payments.pay_with_card(wallet, amount_nanos=50 * BRL, card=card, by=None)
    dispute = disputes.follow_dispute(stripe_side.post(f"dispute/{payment.intent_id}")["id"])
    auto = auto_top_ups.set_up(
        wallet, card=card, threshold_nanos=BRL, amount_nanos=50 * BRL, day_max_nanos=50 * BRL, month_max_nanos=50 * BRL, by="alice"
    )
    event = StripeEvent.objects.create(
        stripe_id="evt_1", type="payment_intent.succeeded", object_id=str(payment.intent_id), payload={}, due_at=payment.created_at
    )
    staff = make_user()
    type(staff).objects.filter(pk=staff.pk).update(is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(staff)
    assert dispute is not None
    for name, row, verb in (
        ("cardpayment", payment, "perguntar"), ("stripeevent", event, "verificar"), ("dispute", dispute, "perguntar"),
        ("autotopup", auto, ""), ("card", card, ""), ("cardholder", cast.acme.card_holder, ""),
    ):  # fmt: skip
        assert client.get(f"/admin/billing/{name}/").status_code == 200, name
        page = text(client.get(f"/admin/billing/{name}/{row.pk}/change/"))
        assert not re.search(r'<input[^>]+name="_save"', page)
        if verb:
            answer = client.get(f"/admin/billing/{name}/{row.pk}/{verb}/", follow=True)
            assert "A Stripe respondeu" in text(answer), name
    stop = f"/admin/billing/autotopup/{auto.pk}/desligar/"
    assert "Desligar a recarga automática" in text(client.get(stop))
    client.post(stop, {"reason": "Pedido por telefone."})
    assert "Pedido por telefone" in AutoTopUp.everywhere.get().paused_reason
