"""Pages that say much about one thing, whole in English: a call's way, a hook that was turned off, a key that has expired."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils.translation import override

from billing.kept_texts import tell_kept
from billing.models import Hook
from tests.billing.test_request_pages import FAILED, ROUTING, SERVED, settle
from tests.cast import Cast, make_cast
from tests.make import make_key, make_wallet
from tokia import clock
from tokia.outbound import NO_ANSWER, TOTAL_SECONDS

TAGS = re.compile(r"<(script|style|code|pre)\b.*?</\1>|<[^>]*>", re.DOTALL)


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


def read(client: Client, url: str) -> str:
    page = client.get(url)
    assert page.status_code == 200
    return " ".join(TAGS.sub(" ", page.content.decode().replace("\xa0", " ")).split())


def test_a_calls_way_is_told_in_english(reader: Client, cast: Cast) -> None:
    record = settle(make_wallet(organization=cast.acme), attempts=(FAILED, SERVED), routing=ROUTING)
    page = read(reader, reverse("request_detail", args=[record.pk]))
    for part in (
        "Price calculation", "Attempt 1: deepseek", "(HTTP 529 ), in 812 ms", "resent over another connection", "Answered",
        "Attempt 2: openai", "1st token in 431 ms", "Chosen by tokia/balanced", "Experiment Troca , arm B",
        "Session conversa-7 : stays with the same provider", "not asked, and why", "The content of this call was not stored.",
    ):  # fmt: skip
        assert part in page, (part, page)
    for word in ("Tentativa", "Cobrado", "provedor", "não", "Escolha", "Sessão"):
        assert word not in page, word


def test_a_hook_that_was_turned_off_says_why_in_english(reader: Client, cast: Cast) -> None:
    hook = Hook.everywhere.create(
        organization=cast.acme, url="https://example.com/x", secret=b"x", is_active=False, disabled_at=clock.now(),
        disabled_reason="nenhuma entrega deu certo em 5 dias",
    )  # fmt: skip
    page = read(reader, reverse("hook", args=[hook.pk]))
    assert "We turned this webhook off: no delivery succeeded in 5 days. Fix the address" in page
    hook.refresh_from_db()
    assert hook.disabled_reason == "nenhuma entrega deu certo em 5 dias", "a row keeps Portuguese"


def test_an_address_that_did_not_answer_is_told_in_english() -> None:
    kept = NO_ANSWER.format(seconds=f"{TOTAL_SECONDS:.0f}")
    assert kept == "Sem resposta em 15 segundos."
    with override("en"):
        assert tell_kept(kept) == "No answer in 15 seconds."


@pytest.mark.parametrize("language", ["pt-br", "en"])
def test_a_key_that_has_expired_is_not_told_a_day_to_come(reader: Client, cast: Cast, language: str) -> None:
    reader.cookies[settings.LANGUAGE_COOKIE_NAME] = language
    for name, days in (("gone", -1), ("soon", 3)):
        make_key(organization=cast.acme, user=cast.alice, name=name, expires_at=clock.now() + dt.timedelta(days=days))
    page = read(reader, "/app/chaves/")
    assert page.count("Expires on" if language == "en" else "Expira em") == 1
    assert page.count("Expired" if language == "en" else "Expirada") == 1
