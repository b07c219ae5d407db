"""Landing, legal pages, contact and news: what a stranger reads is true of the settings and of what is switched on."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from gateway.models import Provider
from tests.home.test_pages import ENGLISH, words
from tests.make import make_price, make_provider, make_route
from tokia import public_pages, status_report
from tokia.templatetags.imprint import tell_phone

pytestmark = pytest.mark.django_db
PAGES = ("/", "/termos/", "/privacidade/", "/suboperadores/", "/novidades/", "/contato/")


@pytest.fixture(autouse=True)
def who_we_are(settings: Settings) -> None:
    settings.IMPRINT_ADDRESS, settings.SUPPORT_EMAIL = "Rua das Flores, 7", "ajuda@exemplo.com.br"
    settings.SUPPORT_WHATSAPP, settings.DPO_NAME, settings.DPO_EMAIL = "5511987654321", "Maria Silva", "dados@exemplo.com.br"


@pytest.mark.parametrize("url", PAGES)
def test_every_page_says_who_stands_behind_it(client: Client, url: str) -> None:
    page = client.get(url).content.decode()
    assert "12.ABC.345/01DE-35" in page and "Rua das Flores, 7" in page and "mailto:dados@exemplo.com.br" in page
    assert 'href="https://wa.me/5511987654321?text=' in page and "+55 (11) 98765-4321" in page
    assert page.count("<h1") == 1 and not ENGLISH.search(re.sub(r"[\w.]+@[\w.]+", "", words(page)))


def test_what_is_not_set_is_not_shown(client: Client, settings: Settings) -> None:
    settings.IMPRINT_ADDRESS = settings.SUPPORT_EMAIL = settings.SUPPORT_WHATSAPP = settings.DPO_NAME = settings.DPO_EMAIL = ""
    for url in PAGES:
        page = client.get(url).content.decode()
        assert "wa.me" not in page and "mailto:" not in page


def test_a_number_of_another_shape_stays_as_it_is() -> None:
    assert (tell_phone("551133334444"), tell_phone("15551234567"), tell_phone("")) == ("+55 (11) 3333-4444", "15551234567", "")


def test_the_legal_texts_name_the_settings_own_numbers(client: Client, settings: Settings) -> None:
    settings.FILES_TTL_DAYS, settings.REFUND_SELF_DAYS, settings.PRICE_NOTICE_DAYS = 23, 11, 17
    assert "23 dias" in client.get("/privacidade/").content.decode()
    terms, landing = (words(client.get(url).content.decode()) for url in ("/termos/", "/"))
    assert "até 11 dias" in terms and "17 dias" in terms
    assert "até 11 dias" in landing and "17 dias" in landing


def test_the_proofs_are_measured_or_not_there(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    report: dict[str, Any] = {}
    monkeypatch.setattr(status_report, "read_report", lambda: report or None)
    page = client.get("/").content.decode()
    assert "de latência" not in page and "de disponibilidade" not in page and 'aria-label="Em números"' not in page
    month = [{"month": {"uptime_bps": bps}} for bps in (10_000, 9_981, None)]
    report.update({"gateway": {"overhead_p50_ms": 1.26}, "models": month})
    page = client.get("/").content.decode()
    assert "+1,3&nbsp;ms" in page and "99,9%" in page
    make_price(route=make_route(provider=make_provider()))
    assert "1 modelo de 1 provedor<" in client.get("/").content.decode()


def test_subprocessors_are_those_that_are_switched_on(client: Client, settings: Settings) -> None:
    settings.STRIPE_SECRET_KEY, settings.SUBPROCESSORS = "", "Hospedagem Sul|Brasil|Servidores; Correio|Irlanda|E-mails ;|x|"
    near, far, off = make_provider(slug="perto"), make_provider(slug="longe"), make_provider(slug="apagado")
    Provider.objects.filter(pk=far.pk).update(country="CN", trains_on_data=True)
    Provider.objects.filter(pk=near.pk).update(country="ZZ", has_zero_retention=True)
    for provider in (near, far, off):
        make_route(provider=provider)
    Provider.objects.filter(pk=off.pk).update(is_active=False)
    page = client.get("/suboperadores/").content.decode()
    countries = [text.strip() for text in re.findall(r"<h2[^>]*>([^<]+)</h2>", page)]
    assert countries == ["Brasil", "China", "Irlanda", "ZZ"]
    assert "Hospedagem Sul" in page and "Pode treinar modelos com os dados" in page and "Retenção zero" in page
    assert "Apagado" not in page and "Stripe" not in page
    settings.STRIPE_SECRET_KEY = "sk_live_x"
    assert "Stripe" in client.get("/suboperadores/").content.decode()


def test_news_come_newest_first() -> None:
    days = [entry["on"] for entry in public_pages._news()]
    assert days == sorted(days, reverse=True) and len(days) > 3


def test_what_went_wrong_is_told_in_words(client: Client) -> None:
    page = client.get("/nao-existe/")
    assert page.status_code == 404 and "Página não encontrada." in page.content.decode()
    page = client.get("/webhooks/stripe/")
    assert (page.status_code, page["Allow"]) == (405, "POST") and "só recebe formulários" in page.content.decode()
    assert client.put("/").status_code == 405 and client.put("/").content == b""
