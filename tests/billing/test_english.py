"""English is a page's: what it says comes from the catalogue; what is kept, sent or downloaded stays Portuguese."""

from __future__ import annotations

import datetime as dt
import json
import re

import pytest
from django.test import Client
from django.utils.translation import gettext, override

from accounts.models import AuditEvent
from billing import budgets, closing, kept_texts, pricelists
from billing.card_states import card_state_of
from billing.cards.declines import WORDS, words_for
from billing.event_texts import LABELS, label_of, tell_event
from billing.figures import tell_brl, tell_count, tell_day, tell_day_of_year, tell_month_number, tell_typed
from billing.kept_texts import tell_kept
from billing.models import Budget, CardPayment, Event, LedgerEntry, Unit
from billing.money import BRL
from billing.units import tell_media, tell_per
from billing.usage_series import tell_count as tell_axis
from tests.cast import Cast, make_cast
from tests.make import make_price, make_route, make_usage, make_wallet
from tokia import clock, openapi

ENGLISH = override("en")
# All but what people read: scripts, tags.
SEEN = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL)
EXPIRED = "The card has expired. Use another card."
PAGES = (
    "/app/chaves/", "/app/chaves/nova/", "/app/uso/", "/app/requisicoes/", "/app/extrato/", "/app/recarregar/", "/app/recargas/",
    "/app/orcamentos/", "/app/orcamentos/novo/", "/app/avisos/", "/app/configuracoes/avisos/", "/app/webhooks/", "/app/desconto/",
)  # fmt: skip


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


def text(client: Client, url: str) -> str:
    return client.get(url).content.decode().replace("\xa0", " ")


# ── Pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_budgets_form_and_its_flash_speak_the_readers_language(reader: Client, cast: Cast) -> None:
    page = text(reader, "/app/orcamentos/novo/?de=tag")
    for part in ("Limit (R$)", "Refuse calls", "Per month", "Renews at midnight, Brasília time", 'placeholder="250.00"'):
        assert part in page, part
    typed = {"limit": "1,234.56", "window": "month", "is_hard": "hard", "alerts": "80", "tag": "a"}
    page = reader.post("/app/orcamentos/novo/?de=tag", typed, follow=True).content.decode()
    assert "Budget created. It applies to calls within 2 seconds." in page
    assert Budget.everywhere.get().limit_nanos == 1_234_560_000_000


def test_a_refusal_of_a_verb_is_told_in_the_readers_language(reader: Client) -> None:
    page = reader.post("/app/orcamentos/novo/", {"limit": "muito", "window": "month", "is_hard": "hard"}).content.decode()
    assert "Type an amount in reais, like 250.00." in page
    page = reader.post("/app/recarregar/", {"valor": "outro", "outro": "0,50"}).content.decode().replace("\xa0", " ")
    assert "R$ 10.00 at least." in page


def test_the_statement_tells_what_rows_keep_in_english_and_its_file_stays_portuguese(reader: Client, cast: Cast) -> None:
    wallet = make_wallet(organization=cast.acme, brl="1500")
    make_usage(wallet=wallet, gross_nanos=BRL)
    page = text(reader, "/app/extrato/")
    today = clock.today_in_brazil()
    assert "PIX top-up" in page and f"Usage of {today.day} {today:%b} — 1 request" in page and "Opening balance" in page
    data = reader.get("/app/extrato/extrato.csv").content.decode()
    assert "Recarga PIX" in data and f"Uso de {today:%d/%m} — 1 requisição" in data and "Saldo inicial" in data


def test_nothing_of_portuguese_is_left_on_the_pages_of_money(reader: Client, cast: Cast) -> None:
    make_usage(wallet=make_wallet(organization=cast.acme, brl="100"), gross_nanos=BRL)
    for url in PAGES:
        page = SEEN.sub(" ", text(reader, url))
        for word in ("Chave", "equisiç", "rçamento", "ecarga", "saldo", "Devoluç", "Período", "Nenhum", " não ", " você "):
            assert word not in page, (url, word, page[page.index(word) - 80 : page.index(word) + 80])


# ── What is kept ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_audit_of_an_english_page_is_portuguese(reader: Client, cast: Cast) -> None:
    with ENGLISH:
        budgets.set_budget(cast.acme, by=cast.alice, scope="organization", window="month", limit_nanos=BRL)
    detail = AuditEvent.everywhere.filter(kind="budget_set").latest("pk").detail
    assert (detail["scope"], detail["window"], detail["limit"]) == ("Empresa inteira", "Por mês", "R$\u00a01,00")


def test_a_declined_cards_words_are_kept_in_portuguese_and_told_in_english(db: None) -> None:
    with ENGLISH:
        assert words_for("expired_card") == "O cartão está vencido. Use outro cartão."
        payment = CardPayment(status=CardPayment.Status.FAILED, decline_code="expired_card", failure=words_for("expired_card"))
        assert card_state_of(payment).text == "The card has expired. Use another card. Nothing was charged."


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ("", ""),
        ("Combinado por telefone com a Ana.", "Combinado por telefone com a Ana."),  # somebody typed it
        (kept_texts.COUPON.format(code="VERAO-26"), "Coupon VERAO-26"),
        (kept_texts.OFF_AFTER.format(count=3, reason=WORDS["expired_card"]), f"Turned off after 3 declines. {EXPIRED}"),
        (kept_texts.HOOK_ANSWERED.format(status=503), "The address answered 503. Only 2xx counts as received."),
        ("Bônus de indicação: sua primeira recarga", "Referral bonus: your first top-up"),
    ],
)  # fmt: skip
def test_a_rows_text_is_told_in_its_readers_language(kept: str, told: str) -> None:
    assert tell_kept(kept) == kept
    with ENGLISH:
        assert tell_kept(kept) == told


def test_every_event_has_its_words_in_english() -> None:
    payload = {
        "amount": "1234.56", "available": "1.00", "threshold": "50.00", "paid_by": "card", "card": "Visa •••• 4242", "percent": 80,
        "scope": "project", "subject": "Site", "window": "month", "spent": "60.00", "limit": "75.00", "usual": "9.00",
        "is_hard": True,
        "day": "2026-11-02", "expires_at": "2026-12-01", "effective_at": "2026-12-01", "month": "2026-10", "net": "10.00",
        "saved": "2.00", "reason": WORDS["expired_card"], "status": "won", "cap": "day", "name": "ERP", "number": 7,
        "routes": [{"route": f"m/{number}"} for number in range(7)],
    }  # fmt: skip
    told = {}
    for type in LABELS:
        in_portuguese = tell_event(Event(type=type, payload=payload))
        with ENGLISH:
            assert label_of(type) != LABELS[type] or type == "ping"
            words = told[type] = tell_event(Event(type=type, payload=payload))
        if type != "ping":
            assert words.title != in_portuguese.title and words.text != in_portuguese.text and words.action != in_portuguese.action
        assert not set("ãõçêáíóúé") & set(words.text.replace("São", "")), words.text
    assert told["budget.threshold"].text.startswith(
        "The monthly budget (project “Site”) reached 80%: R$\u00a060.00 of R$\u00a075.00."
    )
    assert told["auto_top_up.off"].text.startswith(
        "Automatic top-up was turned off. Reason: The card has expired. Use another card. The"
    )


# ── What programs and files read ─────────────────────────────────────────────────────────────────────────────────────
def test_prices_for_programs_and_the_apis_description_are_portuguese_whoever_asks_first(db: None) -> None:
    make_price(route=make_route(name="test/x"), units={"input": "10"})
    openapi.document.cache_clear()
    with ENGLISH:
        assert str(Unit.INPUT.label) == "Input"
        [model] = pricelists.public_prices()["models"]
        assert model["prices"][0]["description"] == "Entrada"
        assert "Por semana" in json.dumps(openapi.document(), ensure_ascii=False)
    openapi.document.cache_clear()


def test_a_month_and_its_lines_are_told_in_both_languages() -> None:
    first_on = dt.date(2026, 10, 1)
    assert closing.tell_month(first_on) == "outubro de 2026"
    with ENGLISH:
        assert closing.tell_month(first_on) == "October 2026"
        assert gettext(str(LedgerEntry.Kind.REVERSAL.label)) == "Reversal"


def test_figures_within_sentences_are_written_as_the_language_writes_them() -> None:
    day = dt.date(2026, 11, 2)

    def told() -> list[str]:
        figures = [tell_brl(1_234_560_000_000), tell_typed(1_234_560_000_000), tell_count(48_219), tell_axis(1_250_000)]
        days = [tell_day(day), tell_day_of_year(day), tell_month_number(day)]
        return [*figures, *days, tell_media({"images": 2, "characters": 1}), tell_per("character", 1_000)]

    assert told() == [
        "R$\u00a01.234,56", "1234,56", "48.219", "1,2\u00a0mi", "02/11/2026", "02/11", "11/2026", "2 imagens, 1 caractere",
        "/1.000 caracteres",
    ]  # fmt: skip
    with ENGLISH:
        assert told() == [
            "R$\u00a01,234.56", "1234.56", "48,219", "1.2\u00a0M", "2 Nov 2026", "2 Nov", "Nov 2026", "2 images, 1 character",
            "/1,000 characters",
        ]  # fmt: skip
