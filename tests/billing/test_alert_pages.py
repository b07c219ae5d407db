"""Pages of alerts, of who reads them, and of webhooks: each role's own, each secret once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from accounts.tenancy import tenant
from billing.alert_choices import choice_of, readers_of
from billing.events import open_alerts, tell
from billing.hook_deliveries import deliver_due
from billing.hooks import create_hook, send_test
from billing.models import Event, Hook, HookDelivery, Wallet
from billing.money import BRL
from tests.cast import Cast, make_cast
from tests.make import make_wallet
from tests.receiver import Receiver, receiving
from tokia.navigation import banner_for

pytestmark = pytest.mark.django_db
URL = "https://hooks.acme.com.br/tokia"


@pytest.fixture
def cast() -> Cast:
    cache.clear()
    return make_cast()


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    with receiving() as found:
        settings.OUTBOUND_LOOPBACK = [found.authority]
        yield found


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text_of(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, path
    return response.content.decode()


# ── Alerts ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_overview_shows_what_nobody_dismissed(cast: Cast) -> None:
    tell(cast.acme, "wallet.low_balance", reference="a", payload={"available": "18.40", "threshold": "20.00"})
    tell(cast.acme, "wallet.top_up", reference="b", payload={"amount": "50.00", "paid_by": "pix"})
    alice, bob = signed_in(cast.alice), signed_in(cast.bob)
    page = text_of(alice, "/app/")
    assert "Saldo baixo (R$\u00a018,40)" in page and "Recarga de" not in page and "Dispensar" in page
    assert "Saldo baixo" in text_of(bob, "/app/") and "Dispensar" not in text_of(bob, "/app/")
    [event] = open_alerts(cast.acme)
    assert bob.post(f"/app/avisos/{event.pk}/dispensar/").status_code == 403
    assert signed_in(cast.charlie).post(f"/app/avisos/{event.pk}/dispensar/").status_code == 404
    for back, expected in (("https://evil.com/", "/app/"), ("//evil.com/app/", "/app/"), ("/app/avisos/", "/app/avisos/")):
        assert alice.post(f"/app/avisos/{event.pk}/dispensar/", {"volta": back})["Location"] == expected
    assert "Saldo baixo (" not in text_of(alice, "/app/")
    history = text_of(alice, "/app/avisos/")
    assert "Saldo baixo (" in history and "Dispensado" in history and "Recarga de R$\u00a050,00 confirmada" in history


def test_the_history_has_pages(cast: Cast) -> None:
    client = signed_in(cast.alice)
    assert "Nenhum aviso até agora" in text_of(client, "/app/avisos/")
    for number in range(51):
        tell(cast.acme, "wallet.top_up", reference=f"r{number}", payload={"amount": f"{number + 1}.00"})
    page = text_of(client, "/app/avisos/")
    oldest_shown = Event.everywhere.order_by("-id")[49].pk
    assert f"?antes={oldest_shown}" in page and page.count("Recarga de") == 50
    assert text_of(client, f"/app/avisos/?antes={oldest_shown}").count("Recarga de") == 1
    assert "Não há avisos mais antigos" in text_of(client, "/app/avisos/?antes=1")
    assert text_of(client, "/app/avisos/?antes=x").count("Recarga de") == 50


def test_choices_are_shown_and_kept(cast: Cast) -> None:
    client = signed_in(cast.carol)
    page = text_of(client, "/app/configuracoes/avisos/")
    assert 'value="20,00"' in page and "Donos" in page
    form = {
        "low_balance": "1.500,00", "roles": ["finance"], "extra_emails": "erp@acme.com.br, fin@acme.com.br",
        "mailed_kinds": ["balance", "refunds"],
    }  # fmt: skip
    assert client.post("/app/configuracoes/avisos/", form)["Location"] == "/app/configuracoes/avisos/"
    assert Wallet.everywhere.get(organization=cast.acme).low_balance_nanos == 1_500 * BRL
    choice = choice_of(cast.acme)
    assert choice.roles == ["finance"] and choice.extra_emails == ["erp@acme.com.br", "fin@acme.com.br"]
    assert not choice.watches_unusual and readers_of(cast.acme, kind="budgets") == []
    assert len(readers_of(cast.acme, kind="refunds")) == 3
    page = text_of(client, "/app/configuracoes/avisos/")
    assert 'value="1.500,00"' in page and "erp@acme.com.br\nfin@acme.com.br" in page
    client.post("/app/configuracoes/avisos/", form | {"low_balance": ""})
    assert Wallet.everywhere.get(organization=cast.acme).low_balance_nanos is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"low_balance": "muito"}, "Digite um valor em reais"), ({"low_balance": "2.000.000,00"}, "Escolha um valor"),
        ({"roles": []}, "alguém precisa saber"), ({"extra_emails": "nada"}, "nada não é um e-mail"),
        ({"roles": ["developer"]}, "não é"),
    ],
)  # fmt: skip
def test_choices_that_can_not_be_change_nothing(cast: Cast, changes: dict[str, object], says: str) -> None:
    client = signed_in(cast.alice)
    form = {"low_balance": "77,00", "roles": ["owner"], "extra_emails": "", "mailed_kinds": [], "watches_unusual": "on", **changes}
    response = client.post("/app/configuracoes/avisos/", form)
    assert response.status_code == 400 and says in response.content.decode()
    assert Wallet.everywhere.get(organization=cast.acme).low_balance_nanos is None and choice_of(cast.acme).pk is None


def test_the_banner_goes_by_the_wallets_own_threshold(cast: Cast) -> None:
    from accounts.models import Membership
    from tests.make import make_usage

    wallet = make_wallet(organization=cast.acme, brl="100")
    make_usage(wallet=wallet, gross_nanos=BRL)
    alice = Membership.everywhere.select_related("organization").get(user=cast.alice)
    wallet.refresh_from_db()
    banner = banner_for(alice, wallet)
    assert banner is not None and "Demonstração" in banner.text  # nothing graver
    wallet.low_balance_nanos = 200 * BRL
    with tenant(cast.acme):
        banner = banner_for(alice, wallet)
    assert banner is not None and "Saldo baixo" in banner.text


# ── Webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_each_role_opens_its_own(cast: Cast) -> None:
    hook, _ = create_hook(cast.acme, url=URL)
    for user, webhooks, choices in ((cast.alice, 200, 200), (cast.bob, 200, 403), (cast.carol, 403, 200)):
        client = signed_in(user)
        assert client.get("/app/webhooks/").status_code == webhooks
        assert client.get(f"/app/webhooks/{hook.pk}/").status_code == webhooks
        assert client.get("/app/configuracoes/avisos/").status_code == choices
        assert ('href="/app/webhooks/"' in client.get("/app/").content.decode()) == (webhooks == 200)


def test_a_secret_is_on_one_page_only(cast: Cast) -> None:
    client = signed_in(cast.bob)
    assert "Nenhum webhook" in text_of(client, "/app/webhooks/")
    response = client.post("/app/webhooks/novo/", {"url": URL, "name": "ERP", "types": ["wallet.empty"]})
    page = response.content.decode()
    secret = page.split('value="whsec_')[1].split('"')[0]
    assert "no-store" in response["Cache-Control"]
    hook = Hook.everywhere.get()
    assert (hook.url, hook.name, hook.types, hook.created_by) == (URL, "ERP", ["wallet.empty"], cast.bob)
    for path in ("/app/webhooks/", f"/app/webhooks/{hook.pk}/", f"/app/webhooks/{hook.pk}/mudar/"):
        assert secret not in text_of(client, path) and "whsec_" not in text_of(client, path)
    response = client.post(f"/app/webhooks/{hook.pk}/segredo/")
    assert "whsec_" in response.content.decode() and secret not in response.content.decode()
    assert "O segredo anterior também assina até" in text_of(client, f"/app/webhooks/{hook.pk}/")


@pytest.mark.parametrize("url", ["https://10.0.0.1/", "http://127.0.0.1:22/", "https://metadata.internal/", "nada", ""])
def test_a_bad_address_comes_back_with_its_reason(cast: Cast, url: str) -> None:
    response = signed_in(cast.alice).post("/app/webhooks/novo/", {"url": url, "name": "ERP", "types": ["wallet.empty"]})
    assert response.status_code == 400 and 'role="alert"' in response.content.decode()
    assert 'value="ERP"' in response.content.decode() and Hook.everywhere.count() == 0


def test_a_hook_is_changed_switched_and_removed(cast: Cast) -> None:
    hook, _ = create_hook(cast.acme, url=URL, name="ERP", types=["wallet.empty"])
    client, base = signed_in(cast.alice), f"/app/webhooks/{hook.pk}/"
    client.post(f"{base}mudar/", {"url": f"{URL}2", "name": "Outro"})
    hook.refresh_from_db()
    assert (hook.url, hook.name, hook.types) == (f"{URL}2", "Outro", [])
    client.post(f"{base}ligar/", {"ligado": "0"})
    assert not Hook.everywhere.get().is_active and "Enviar teste" not in text_of(client, base)
    client.post(f"{base}testar/")
    assert HookDelivery.everywhere.count() == 0
    client.post(f"{base}ligar/", {"ligado": "1"})
    assert Hook.everywhere.get().is_active
    client.post(f"{base}remover/", {"typed": "ERP"})
    assert Hook.everywhere.count() == 1
    client.post(f"{base}remover/", {"typed": "Outro"})
    assert Hook.everywhere.count() == 0


def test_a_delivery_is_followed_and_sent_again(cast: Cast, receiver: Receiver) -> None:
    hook, _ = create_hook(cast.acme, url=receiver.url, name="ERP")
    client = signed_in(cast.alice)
    receiver.answers = [(500, {}, b"<b>ocupado</b>")]
    page = client.post(f"/app/webhooks/{hook.pk}/testar/")["Location"]
    assert "Na fila" in text_of(client, page) and "hx-get" in text_of(client, page)
    assert client.get(f"{page}situacao/").status_code == 200
    deliver_due()
    status = client.get(f"{page}situacao/")
    assert status.status_code == 286 and "Só 2xx conta" in status.content.decode()
    whole = text_of(client, page)
    assert "&lt;b&gt;ocupado" in whole and "Reenviar" in whole and "&quot;type&quot;: &quot;ping&quot;" in whole
    log = text_of(client, f"/app/webhooks/{hook.pk}/")
    assert "Tentando" in log and "Falhando" in log
    assert client.post(f"{page}reenviar/")["Location"] == page
    deliver_due()
    assert "Entregue" in text_of(client, page)
    assert "Entregue" in text_of(client, f"/app/webhooks/{hook.pk}/?situacao=entregues")
    assert "Nada encontrado" in text_of(client, f"/app/webhooks/{hook.pk}/?situacao=falhas")


def test_a_delivery_is_found_only_under_its_hook(cast: Cast) -> None:
    hook, _ = create_hook(cast.acme, url=URL)
    other, _ = create_hook(cast.acme, url=URL)
    theirs, _ = create_hook(cast.globex, url=URL)
    delivery, foreign = send_test(hook), send_test(theirs)
    client = signed_in(cast.alice)
    assert client.get(f"/app/webhooks/{hook.pk}/entregas/{delivery.pk}/").status_code == 200
    assert client.get(f"/app/webhooks/{other.pk}/entregas/{delivery.pk}/").status_code == 404
    assert client.get(f"/app/webhooks/{theirs.pk}/entregas/{foreign.pk}/").status_code == 404
    assert client.post(f"/app/webhooks/{theirs.pk}/entregas/{foreign.pk}/reenviar/").status_code == 404


def test_a_log_has_pages(cast: Cast) -> None:
    hook, _ = create_hook(cast.acme, url=URL)
    for _ in range(31):
        send_test(hook)
    client = signed_in(cast.alice)
    oldest_shown = HookDelivery.everywhere.order_by("-id")[29].pk
    assert f"?antes={oldest_shown}" in text_of(client, f"/app/webhooks/{hook.pk}/")
    assert text_of(client, f"/app/webhooks/{hook.pk}/?antes={oldest_shown}").count("/entregas/") == 1
