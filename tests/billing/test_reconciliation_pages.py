"""Staff sees every difference explained or open, imports what providers report, and reads what we earn."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from accounts.models import User
from billing import margins, provider_reports, reconcile
from billing.differences import keep_violations
from billing.models import Difference, ExchangeRate, ProviderReport, ReconciliationRun
from billing.money import BRL
from billing.pricing import Usage
from billing.provider_reports import ReportRefused, import_report, read_report
from tests.make import make_usage, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db
TODAY = clock.now().astimezone(dt.UTC).date()
HEAD = "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_input_tokens_cache_read,usage_output_tokens,cost_usd\n"


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ana@tokia.test", "a long enough password"))
    return client


@pytest.fixture
def used() -> None:
    """A call of a million tokens in and half of one out, that cost us R$ 10."""
    make_usage(
        wallet=make_wallet(brl="100"), gross_nanos=20 * BRL, provider_name="anthropic", upstream_model="claude",
        cost_nanos=10 * BRL, usage=Usage(input_tokens=900_000, cached_input_tokens=100_000, output_tokens=500_000),
    )  # fmt: skip
    ExchangeRate.objects.create(rate=Decimal("5.00"), source="PTAX venda", quoted_at=clock.now() - dt.timedelta(days=2))


def report(*lines: str) -> ProviderReport:
    content = (HEAD + "\n".join(lines)).encode()
    return import_report(provider_name="anthropic", file_name="uso.csv", content=content, by="ana@tokia.test")


def test_a_report_that_agrees_leaves_nothing_open(used: None) -> None:
    first = report(f"{TODAY},claude,900000,99000,499500,1.99", f"{TODAY},claude,0,1000,0,0")
    again = report(f"{TODAY},claude,900000,99000,499500,1.99", f"{TODAY},claude,0,1000,0,0")
    assert first == again and first.lines.get().input_tokens == 1_000_000
    assert not Difference.objects.exists()


def test_what_differs_is_told_by_day_and_model_and_goes_when_it_agrees(used: None) -> None:
    report(f"{TODAY},claude,900000,300000,500000,2.40", f"{TODAY},claude-old,50000,0,10,0.10")
    found = {row.reference: row for row in Difference.objects.all()}
    assert {name: row.kind for name, row in found.items()} == {
        f"anthropic {TODAY} claude": Difference.Kind.AMOUNT, f"anthropic {TODAY} claude-old": Difference.Kind.ONLY_THERE,
    }  # fmt: skip
    row = found[f"anthropic {TODAY} claude"]
    assert (row.ours_nanos, row.theirs_nanos) == (10 * BRL, 12 * BRL) and "1.000.000 tokens aqui, 1.200.000 lá" in row.detail
    report(f"{TODAY},claude,900000,100000,500000,2.00")
    assert not Difference.objects.filter(status="open").exists()


def test_what_only_we_metered_is_told(used: None) -> None:
    report(f"{TODAY},other,1,0,1,0.00")
    assert Difference.objects.get(reference=f"anthropic {TODAY} claude").kind == Difference.Kind.ONLY_HERE


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe\x00", "UTF-8"),
        (b"a,b\n1,2\n", "Faltam colunas"),
        (b"day,model,usd\n2026-13-01,m,1\n", "Linha 2"),
        (b"day,model,usd\n2026-11-01,m,muito\n", "Linha 2"),
        (b"day,model,usd\n2026-11-01,m,NaN\n", "Linha 2"),
        (b"day,model,usd\n", "não tem linhas"),
        (b"day,model,usd\n2026-01-01,m,1\n2026-11-01,m,1\n", "93 dias"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_report_is_refused_in_words(content: bytes, words: str) -> None:
    with pytest.raises(ReportRefused, match=words):
        read_report(content)


def test_reports_by_semicolon_and_in_openais_words() -> None:
    lines = read_report(
        b"\xef\xbb\xbfstart_time_iso;model;n_context_tokens_total;n_generated_tokens_total\n2026-11-02T00:00:00Z;gpt;7;3\n"
    )
    assert lines[dt.date(2026, 11, 2), "gpt"] == provider_reports.Line(input_tokens=7, output_tokens=3)


def test_a_broken_invariant_is_a_difference_until_it_holds_again(caplog: pytest.LogCaptureFixture) -> None:
    keep_violations(["3 held = open holds: 7 (5, not 0)"])
    row = Difference.objects.get()
    assert (row.subject, row.reference, row.detail) == ("invariant", "3 held = open holds: 7", "5, not 0")
    assert reconcile.check_ledger() == []
    row.refresh_from_db()
    assert row.status == Difference.Status.GONE
    ReconciliationRun.objects.update(took_ms=60_000)  # a check that takes a minute is not begun again at once
    keep_violations(["3 held = open holds: 7 (5, not 0)"])
    reconcile.check_ledger()
    row.refresh_from_db()
    assert row.status == Difference.Status.OPEN


def test_staff_reads_explains_and_imports(staff: Client, used: None) -> None:
    form = {"provider": "anthropic", "file": SimpleUploadedFile("uso.csv", (HEAD + f"{TODAY},claude,1,0,1,9.00").encode())}
    answer = staff.post(reverse("admin:billing_providerreport_upload"), form, follow=True)
    assert "Diferenças em aberto deste provedor: 1" in answer.content.decode()
    bad = {"provider": "anthropic", "file": SimpleUploadedFile("uso.csv", b"a,b\n")}
    assert "Faltam colunas" in staff.post(reverse("admin:billing_providerreport_upload"), bad).content.decode()
    assert "diferença em aberto" in staff.get("/admin/").content.decode()
    row = Difference.objects.get()
    page = staff.get(reverse("admin:billing_difference_change", args=[row.pk])).content.decode()
    assert "Valores diferentes" in page and "R$\xa045,00" in page
    staff.post(reverse("admin:billing_difference_explain", args=[row.pk]), {"reason": "Chave de teste do provedor."})
    row.refresh_from_db()
    assert (row.status, row.explained_by) == (Difference.Status.EXPLAINED, "ana@tokia.test")
    ReconciliationRun.objects.create(
        subject="pix", first_at=clock.now(), last_at=clock.now(), ours_nanos=BRL, started_at=clock.now()
    )
    assert "PIX recebido" in staff.get(reverse("admin:billing_difference_overview")).content.decode()


def test_what_we_earn_adds_up_in_every_view(staff: Client, used: None) -> None:
    wallet = make_wallet(brl="0", promo_brl="5")
    make_usage(wallet=wallet, gross_nanos=5 * BRL, provider_name="openai", route_name="openai/gpt", cost_nanos=BRL)
    today = clock.today_in_brazil()
    for group in margins.GROUPS:
        total = margins.total_of(margins.margins_by(group, first_on=today, last_on=today))
        assert (total.calls, total.promo_nanos, total.cost_nanos) == (2, 5 * BRL, 11 * BRL)
        assert total.margin_nanos == total.net_nanos - 16 * BRL
        page = staff.get(reverse("admin:billing_usageday_margins"), {"por": group}).content.decode()
        assert "Total" in page
    sheet = staff.get(reverse("admin:billing_usageday_margins"), {"por": "empresa", "formato": "csv"}).content.decode("utf-8-sig")
    assert sheet.splitlines()[0].startswith("Empresa;Requisições;Bruto") and "5,000000000" in sheet
