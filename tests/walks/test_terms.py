"""The newcomer's way, from the landing page to the new key, shows no word of the trade that the same page does not explain."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import Charge
from billing.money import BRL
from tests.cast import Cast, make_cast
from tests.home.test_pages import words
from tests.make import make_price, make_provider, make_route, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db
# A word of the trade → what explains it, in words beside it or among the page's words.
TERMS = {
    r"\bAPI\b": r"API é o endereço|API: ",
    r"\bSDKs?\b": r"SDK: ",
    r"base_url": r"base_url: ",
    r"\btokens?\b": r"Token: ",
    r"\bprompts?\b": r"Prompt é o texto",
    r"\bcache\b": r"Cache: ",
    r"\bgateways?\b": r"Gateway: ",
    r"\blatências?\b": r"Latência: ",
    r"\bspread\b": r"Spread: ",
    r"\bIOF\b": r"IOF: ",
    r"\bIRRF\b": r"IRRF: ",
    r"\bPTAX\b": r"PTAX: ",
    r"\bPIX\b": r"PIX: ",
    r"Copia e Cola": r"Pix Copia e Cola: ",
    r"\bNFS-e\b": r"NFS-e: |nota fiscal de serviço \(NFS-e\)",
    r"\bLGPD\b": r"LGPD: ",
    r"OpenAPI": r"OpenAPI: ",
    r"\bwebhooks?\b": r"Webhook: ",
    r"(?<!\w)\.env\b": r"\.env: ",
    r"\b(?:streaming|endpoints?|fallbacks?|RPM|TPM|TTFT|BYOK)\b": r"(?!)",  # said on none of these pages
}

PATHS = ("/app/comecar/?nova", "/app/", "/app/recarregar/", "/app/chaves/", "/app/chaves/nova/")


def find_unexplained(page: str) -> list[str]:
    """What a person reads of the main part, without code, against the words that explain it."""
    main = re.search(r"<main\b.*?</main>", page, re.DOTALL)
    assert main, "no main part"
    text = re.sub(r"\s+", " ", re.sub(r"</?(?:strong|em|dt|dd|a|span)\b[^>]*>", "", words(named(main[0]))))
    text = re.sub(r"\s+", " ", text).replace(" :", ":")
    return [said[0] for term, told in TERMS.items() if (said := re.search(term, text, re.IGNORECASE)) and not re.search(told, text)]


def named(html: str) -> str:
    """`base_url` is shown as code in a sentence: that is text, the boxes of code are not."""
    return re.sub(r"<code\b[^>]*>(\w+)</code>", r"\1", html)


@pytest.fixture
def cast() -> Cast:
    make_price(route=make_route(provider=make_provider()))
    return make_cast()


def make_charge(cast: Cast) -> Charge:
    now = clock.now()
    return Charge.everywhere.create(
        id=clock.new_id(), wallet=make_wallet(organization=cast.acme), txid="t" * 30, amount_nanos=50 * BRL, brcode="000201",
        status=Charge.Status.PENDING, created_at=now, expires_at=now + dt.timedelta(minutes=30),
    )  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/conta/cadastro/"])
def test_it_explains_its_words_to_a_stranger(client: Client, cast: Cast, path: str) -> None:
    assert find_unexplained(client.get(path).content.decode()) == []


def test_it_explains_its_words_to_who_begins(client: Client, cast: Cast) -> None:
    client.force_login(cast.alice)
    charge = make_charge(cast)
    paths = (*PATHS, reverse("charge", args=[charge.pk]))
    pages = {path: client.get(path).content.decode() for path in paths}
    pages["the new key"] = client.post("/app/chaves/nova/", {"name": "primeira"}).content.decode()
    assert "Copie agora." in pages["the new key"] and "Comece em 3 passos" in pages["/app/"]
    assert {path: found for path, page in pages.items() if (found := find_unexplained(page))} == {}
