"""The spreadsheet of a draft's prices: its cells, its file, what it would mean; nothing half-saved, nothing published by it."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from accounts.models import User
from billing import costs, price_effects, price_files, price_grid, pricebooks
from billing.models import ExchangeRate, Price, PriceApproval, PriceVersion
from billing.money import BRL, from_brl
from billing.price_cells import BadCell, Cells, cells_of, raise_by, read_cells, read_number
from billing.pricebooks import PriceLine
from billing.pricing import Usage
from tests.make import make_organization, make_usage, make_wallet
from tokia import clock

GPT = PriceLine(route_name="openai/gpt-5", provider_name="openai", upstream_model="gpt-5", markup=Decimal("1.8"))
SONNET = PriceLine(route_name="a/sonnet", provider_name="anthropic", upstream_model="claude-sonnet-4-5", markup=Decimal("1.5"))
REASON = "Campanha de lançamento"


# ── Cells ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "number"),
    [("18,14", "18.14"), ("R$ 1.234,56", "1234.56"), ("18.14", "18.14"), ("0.275", "0.275"), ("2,5×", "2.5"),
     ("1.234.567", "1234567"), ("-2,5 %", "-2.5"), ("0", "0"), ("1234", "1234")],
)  # fmt: skip
def test_it_reads_a_number_as_a_person_types_it(text: str, number: str) -> None:
    assert read_number(text) == Decimal(number)


@pytest.mark.parametrize("text", ["1.234", "18,14,1", "dez", "1e9", "NaN", "=1+1", "1,2.3", "٣", "--1", "1 2x"])
def test_it_refuses_what_is_no_number_or_could_be_two(text: str) -> None:
    with pytest.raises(ValueError):
        read_number(text)
    assert read_number("  ") is None


def marked(**fields: object) -> Price:
    given = {"route_name": "openai/gpt-5", "unit": "input", "per_units": 10**6, "cost_usd": Decimal("1.25"),
             "markup": Decimal("1.8"), "amount_nanos": from_brl("11.25"), **fields}  # fmt: skip
    return Price(pk=7, **given)


@pytest.mark.parametrize(
    ("price", "amount", "markup", "edit"),
    [
        (marked(), "11,25", "1,80", None),
        (marked(), "11,250", "1.8", None),
        (marked(), "12", "1,80", (12 * BRL, None)),
        (marked(), "11,25", "2", (None, Decimal(2))),
        (marked(), "", "2", (None, Decimal(2))),
        (marked(), "12", "", (12 * BRL, None)),
        (marked(override_nanos=BRL, amount_nanos=BRL), "", "", (None, None)),  # it follows its cost again
        (marked(override_nanos=BRL, amount_nanos=BRL), "1,00", "1,9", (None, Decimal("1.9"))),
    ],
)
def test_it_reads_what_was_changed(price: Price, amount: str, markup: str, edit: tuple[int | None, Decimal | None] | None) -> None:
    read = read_cells(price, Cells(amount, markup))
    assert (read and (read.amount_nanos, read.markup)) == edit


@pytest.mark.parametrize(
    ("price", "amount", "markup", "cell", "told"),
    [
        (marked(), "12", "2", "amount", "não os dois"),
        (marked(), "", "", "amount", "fica sem preço"),
        (marked(), "11,25", "", "markup", "fica sem preço"),
        (marked(), "11,25", "0", "markup", "entre 0,001"),
        (marked(), "11,25", "1000", "markup", "entre 0,001"),
        (marked(), "11,25", "1,2345", "markup", "três decimais"),
        (marked(), "-1", "1,80", "amount", "fica entre"),
        (marked(), "1000000,01", "1,80", "amount", "fica entre"),
        (marked(), "0,0000000001", "1,80", "amount", "nove decimais"),
        (marked(), "caro", "1,80", "amount", "não é um valor"),
        (marked(cost_usd=None, markup=None, override_nanos=BRL, amount_nanos=BRL), "1,00", "2", "markup", "só um preço fixo"),
        (marked(cost_usd=None, markup=None, override_nanos=BRL, amount_nanos=BRL), "", "", "amount", "fica sem preço"),
    ],
)
def test_it_says_what_is_wrong_with_a_cell(price: Price, amount: str, markup: str, cell: str, told: str) -> None:
    with pytest.raises(BadCell, match=told) as bad:
        read_cells(price, Cells(amount, markup))
    assert bad.value.cell == cell


def test_it_raises_a_multiplier_or_a_fixed_price() -> None:
    assert raise_by(marked(), Decimal(10)) == Cells("11,25", "1,98")
    assert raise_by(marked(override_nanos=BRL, amount_nanos=BRL), Decimal("-2.5")) == Cells("0,975", "")
    assert cells_of(marked(amount_nanos=272_218_751)).amount == "0,272218751"
    with pytest.raises(BadCell, match="entre 0,001"):
        raise_by(marked(markup=Decimal(900)), Decimal(50))


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def ana(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ana@tokia.test", "a long enough password"))
    return client


@pytest.fixture
def draft(db: None) -> PriceVersion:
    """Two models at R$ 5 a dollar, in force, and a draft of them."""
    costs.import_costs(
        [("openai", "openai", "gpt-5", "gpt-5"), ("anthropic", "anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5")]
    )
    ExchangeRate.objects.create(rate=Decimal(5), source="PTAX venda", quoted_at=clock.now() - dt.timedelta(hours=1))
    pricebooks.publish_version(pricebooks.draft_version(lines=[GPT, SONNET]), by="seed")
    return pricebooks.draft_from_current()


def address(draft: PriceVersion) -> str:
    return reverse("admin:billing_priceversion_grid", args=[draft.pk])


def line(draft: PriceVersion, unit: str, route: str = GPT.route_name) -> Price:
    return Price.objects.get(version=draft, route_name=route, unit=unit)


def sent(client: Client, draft: PriceVersion, act: str, **changes: str) -> HttpResponse:
    """The form as a browser sends it: every cell, with some typed over, by `amount_input="12"` or `markup_output="2"`."""
    shown = client.get(address(draft))
    data = {
        "act": act,
        "digest": shown.context["digest"],
        "reason": changes.pop("reason", ""),
        "percent": changes.pop("percent", ""),
    }
    for row in shown.context["rows"]:
        data |= {f"amount-{row.price.pk}": row.cells.amount, f"markup-{row.price.pk}": row.cells.markup}
    picked = changes.pop("pick", "").split()
    for name, value in changes.items():
        cell, _, unit = name.partition("_")
        data[f"{cell}-{line(draft, unit).pk}" if cell in ("amount", "markup") else name.replace("_", "-", 1)] = value
    return client.post(address(draft), {**data, "pick": [str(line(draft, unit).pk) for unit in picked]})  # type: ignore[return-value]


def text_of(answer: object) -> str:
    return answer.content.decode()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.django_db
def test_it_saves_a_fixed_price_and_a_multiplier_and_goes_on_to_the_comparison(ana: Client, draft: PriceVersion) -> None:
    same = sent(ana, draft, "save")
    assert same.status_code == 302 and not LogEntry.objects.exists()
    answer = sent(ana, draft, "compare", amount_input="R$ 12,00", markup_output="1,7")
    assert answer["Location"] == reverse("admin:billing_priceversion_publish", args=[draft.pk])
    assert (line(draft, "input").override_nanos, line(draft, "input").amount_nanos) == (12 * BRL, 12 * BRL)
    output = line(draft, "output")
    assert (output.override_nanos, output.markup, output.amount_nanos) == (None, Decimal("1.7"), from_brl("85"))  # US$ 10 × 5 × 1,7
    draft.refresh_from_db()
    assert draft.status == PriceVersion.Status.DRAFT and draft.author_ids == [User.objects.get().pk]  # who may not approve it
    assert "2 preços no rascunho" in LogEntry.objects.get().change_message
    current = pricebooks.version_in_force()
    assert current is not None and current != draft and line(current, "input").amount_nanos == from_brl("11.25")
    assert sent(ana, draft, "save", amount_input="").status_code == 302  # back to its multiplier
    assert line(draft, "input").amount_nanos == from_brl("11.25")


@pytest.mark.django_db
def test_it_saves_nothing_of_a_form_with_a_bad_cell(ana: Client, draft: PriceVersion) -> None:
    before = list(Price.objects.filter(version=draft).order_by("pk").values())
    told = text_of(sent(ana, draft, "save", amount_input="12", markup_output="muito"))
    assert "1 valor precisa de correção. Nada foi salvo." in told and "“muito” não é um valor" in told
    assert 'value="muito"' in told and 'aria-invalid="true"' in told and 'value="12"' in told  # what was typed is not lost
    assert "fica abaixo do custo" in text_of(sent(ana, draft, "save", amount_input="6,24"))  # it costs R$ 6,25
    assert list(Price.objects.filter(version=draft).order_by("pk").values()) == before
    assert sent(ana, draft, "save", amount_input="6,24", reason=REASON).status_code == 302
    assert line(draft, "input").override_reason == REASON
    page = ana.get(reverse("admin:billing_priceversion_publish", args=[draft.pk]))
    assert "1 preço só com a aprovação de outro administrador" in text_of(page)
    assert sent(ana, draft, "save", markup_input="1,8").status_code == 302
    assert line(draft, "input").override_reason == ""


@pytest.mark.django_db
def test_it_shows_what_cells_would_mean_without_saving(ana: Client, draft: PriceVersion) -> None:
    wallet = make_wallet(organization=make_organization(), brl="1000")
    used = Usage(input_tokens=2_000_000, cached_input_tokens=1_000_000, output_tokens=1_000_000)
    make_usage(wallet=wallet, gross_nanos=BRL, route_name=GPT.route_name, usage=used)
    answer = sent(ana, draft, "check", markup_input="2")
    context = answer.context  # type: ignore[attr-defined]
    row = next(row for row in context["rows"] if row.price.unit == "input" and row.price.route_name == GPT.route_name)
    assert (row.price.amount_nanos, row.told_change, row.over_cost) == (from_brl("12.5"), "subiu +11,1%", "2,00×")
    assert row.is_unsaved and row.effect_nanos == from_brl("2.5")  # two million more at R$ 1,25 more
    effect = context["effect"]
    assert effect.revenue_after - effect.revenue_before == from_brl("2.5") == effect.margin_change
    assert effect.cost_before == effect.cost_after
    assert dict(context["counts"])["subiram"] == 1 and context["has_dearer"]
    assert line(draft, "input").markup == Decimal("1.8")
    assert "15 dias depois" in text_of(answer) or "dias depois" in text_of(answer)


@pytest.mark.django_db
def test_it_applies_a_percentage_to_the_picked_lines_only(ana: Client, draft: PriceVersion) -> None:
    answer = sent(ana, draft, "apply", percent="10", pick="input output")
    shown = {(row.price.route_name, row.price.unit): row.cells.markup for row in answer.context["rows"]}  # type: ignore[attr-defined]
    assert shown[GPT.route_name, "input"] == shown[GPT.route_name, "output"] == "1,98"
    assert shown[GPT.route_name, "cached_input"] == "1,80" and shown[SONNET.route_name, "input"] == "1,50"
    assert line(draft, "input").markup == Decimal("1.8")  # only in the cells
    assert "Marque ao menos uma linha" in text_of(sent(ana, draft, "apply", percent="10"))
    for percent in ("", "0", "muito", "-100", "1001"):
        assert "Digite a variação" in text_of(sent(ana, draft, "apply", percent=percent, pick="input"))


@pytest.mark.django_db
def test_it_saves_nothing_over_what_another_saved_meanwhile(ana: Client, draft: PriceVersion) -> None:
    shown = ana.get(address(draft)).context
    price_grid.save_cells(draft, {line(draft, "output").pk: Cells("", "1,9")}, by=User.objects.get())
    data = {
        "act": "save",
        "digest": shown["digest"],
        f"amount-{line(draft, 'input').pk}": "12",
        f"markup-{line(draft, 'input').pk}": "1,80",
    }
    assert "mudou enquanto você editava" in text_of(ana.post(address(draft), data))
    assert line(draft, "input").override_nanos is None


@pytest.mark.django_db
def test_it_filters_and_simulates_and_never_edits_what_is_published(ana: Client, draft: PriceVersion) -> None:
    Price.objects.filter(pk=line(draft, "input").pk).update(id=1_234_567)
    assert 'name="amount-1234567"' in text_of(ana.get(address(draft)))  # not 1.234.567
    routes = {row.price.route_name for row in ana.get(address(draft), {"provedor": "openai"}).context["rows"]}
    assert routes == {GPT.route_name}
    assert "Nada encontrado" in text_of(ana.get(address(draft), {"mostrar": "mudou"}))
    assert not ana.get(address(draft), {"q": "nenhum-assim", "pagina": "x"}).context["rows"]
    asked = {"sim_route": GPT.route_name, "sim_input_tokens": "1.000.000", "sim_output_tokens": "0"}
    data = {f"sim-{name.removeprefix('sim_')}": value for name, value in asked.items()}
    simulated = ana.post(address(draft), {"act": "simulate", **data}).context["simulated"]
    assert (simulated["cost"], simulated["before"], simulated["after"]) == (from_brl("6.25"), from_brl("11.25"), from_brl("11.25"))
    assert simulated["bps"] == 4_444
    assert "números inteiros" in text_of(ana.post(address(draft), {"act": "simulate", **data, "sim-output_tokens": "1,5"}))
    assert "Escolha um modelo" in text_of(ana.post(address(draft), {"act": "simulate", **data, "sim-route": "outro"}))
    current = pricebooks.version_in_force()
    assert current is not None
    assert ana.get(address(current)).status_code == 302
    assert ana.post(address(current), {"act": "save", f"amount-{line(current, 'input').pk}": "1"}).status_code == 302
    assert line(current, "input").amount_nanos == from_brl("11.25")
    viewer = Client()
    viewer.force_login(User.objects.create_user("leo@tokia.test", "a long enough password", is_staff=True))
    assert viewer.get(address(draft)).status_code == 403


@pytest.mark.django_db
def test_it_starts_from_a_new_draft(ana: Client, draft: PriceVersion) -> None:
    start = reverse("admin:billing_priceversion_choose_draft")
    assert address(draft) in text_of(ana.get(start)) and PriceVersion.objects.count() == 2
    assert ana.post(start)["Location"] == address(PriceVersion.objects.latest("pk"))
    assert PriceVersion.objects.count() == 3 and not PriceApproval.objects.exists()


# ── The file ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def import_(client: Client, draft: PriceVersion, text: str | bytes, **data: str) -> HttpResponse:
    content = text if isinstance(text, bytes) else text.encode()
    file = SimpleUploadedFile("precos.csv", content, content_type="text/csv")
    return client.post(address(draft), {"act": "import", "file": file, **data})  # type: ignore[return-value]


@pytest.mark.django_db
def test_it_takes_back_the_file_that_it_gave(ana: Client, draft: PriceVersion) -> None:
    answer = ana.get(address(draft), {"formato": "csv"})
    file = answer.content
    assert file.startswith("\ufeffmodelo;unidade;por;".encode()) and "attachment" in answer["Content-Disposition"]
    assert import_(ana, draft, file)["Location"] == address(draft) and not LogEntry.objects.exists()  # nothing differs
    changed = file.decode("utf-8-sig").replace(
        "openai/gpt-5;Entrada;1M;openai;gpt-5;1,25;5,00;11,25;1,80", "openai/gpt-5;Entrada;1M;;;;;12,00;1,80"
    )
    taken = import_(ana, draft, changed.encode("cp1252"))  # as Excel writes
    assert taken["Location"] == reverse("admin:billing_priceversion_publish", args=[draft.pk])
    assert line(draft, "input").override_nanos == 12 * BRL and line(draft, "output").override_nanos is None


@pytest.mark.django_db
def test_it_names_the_line_of_each_error_and_takes_nothing(ana: Client, draft: PriceVersion) -> None:
    before = list(Price.objects.filter(version=draft).order_by("pk").values())
    told = text_of(import_(ana, draft, (
        "Modelo;Unidade;Preço R$\nopenai/gpt-5;entrada;12\n\nopenai/gpt-5;SAÍDA;caro\nopenai/gpt-5;voz;1\nopenai/gpt-5;input;13\n"
        "a/sonnet;saída;0,01\n=cmd|x;Entrada;1\n"
    )))  # fmt: skip
    for sentence in (
        "5 valores precisam de correção. Nada foi salvo.", "Linha 4: openai/gpt-5, saída: “caro” não é um valor",
        "Linha 5: openai/gpt-5, voz: não existe neste rascunho.", "Linha 6: openai/gpt-5, input: já apareceu na linha 2.",
        "Linha 7: a/sonnet, saída: fica abaixo do custo", "Linha 8: =cmd|x, Entrada: não existe",
    ):  # fmt: skip
        assert sentence in told, sentence
    for content, sentence in (
        (b"", "Nada foi salvo"), (b"PK\x03\x04", "salve como CSV"), (b"a;b\n1;2\n", "precisa ter as colunas"),
        (b"modelo;unidade;multiplicador\n", "nenhuma linha"), (b'modelo;unidade;multiplicador\n"x', "bem formado"),
        (b"x" * (price_files.BYTES_MAX + 1), "1 MB"), (b"modelo\0;", "não é um CSV"),
    ):  # fmt: skip
        assert sentence in text_of(import_(ana, draft, content)), content[:20]
    assert list(Price.objects.filter(version=draft).order_by("pk").values()) == before
    assert import_(ana, draft, "modelo,unidade,multiplicador\nopenai/gpt-5,input,2\n").status_code == 302
    assert line(draft, "input").markup == Decimal(2)


def test_it_prices_a_bucket_by_its_family_in_the_estimate() -> None:
    before = [marked(), marked(unit="output", amount_nanos=90 * BRL, cost_usd=Decimal(10))]
    after = [*before, marked(unit="cached_input", amount_nanos=BRL, cost_usd=Decimal("0.125"))]
    volumes = {GPT.route_name: {"cached_input_tokens": 1_000_000, "output_tokens": 1_000_000}, "gone": {"input_tokens": 5}}
    effect = price_effects.effect_of(before, after, rates=(Decimal(5), Decimal(5)), volumes=volumes)
    assert (effect.revenue_before, effect.revenue_after) == (from_brl("101.25"), from_brl("91"))
    assert (effect.cost_before, effect.cost_after) == (from_brl("56.25"), from_brl("50.625"))
    assert effect.by_line == {(GPT.route_name, "input"): -from_brl("11.25"), (GPT.route_name, "cached_input"): BRL}
    assert (effect.bps_before, effect.bps_after) == (4_444, 4_436)
