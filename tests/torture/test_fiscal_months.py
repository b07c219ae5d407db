"""Three months of mixed consumption, closed, drafted and issued at the tax office's sandbox over TLS, against a sum of our own.

Calls are settled by the ledger's own functions; the invoices are made and issued by what the tasks call. Then every note is judged
from outside: by the schema as the sandbox reads it, by libxmlsec for both signatures, by Decimal sums over the usage records and
the residue rule written anew here, and by the tax office's own books, note by note.

Short form: 12 organizations, part of `make test`. `TORTURE=long`: 200.
"""

from __future__ import annotations

import datetime as dt
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from random import Random

import psycopg
import pytest
import xmlsec
from lxml import etree
from pytest_django import Settings

from accounts.errors import InvalidTaxId
from accounts.models import Organization
from accounts.tax_ids import parse_cnpj, parse_cpf
from billing import closing, holds, ledger
from billing.models import MonthClose, UsageRecord, Wallet
from billing.money import BRL
from invoices import drafting, exchanges, queue
from invoices.models import Invoice, InvoiceLine
from invoices.reconcile import find_violations
from tests.invoices.cast import ADDRESS, make_issuer
from tests.invoices.months import id_at, moment, month_ago
from tests.invoices.tax_office import TaxOffice, open_office
from tests.make import make_call, make_organization, make_top_up, make_volume_plan, make_wallet
from tests.stores import stores
from tokia.clock import Month
from tokia.sandbox import fiscal_xml

IS_LONG = os.environ.get("TORTURE") == "long"
ORGANIZATIONS = 200 if IS_LONG else 12
ROUTES = [f"maker/model-{number}" for number in range(6)]
MONTHS = 3
NS = {"n": "http://www.sped.fazenda.gov.br/nfse", "d": "http://www.w3.org/2000/09/xmldsig#"}
LETTERS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"


@pytest.fixture
def office(tmp_path: Path, settings: Settings) -> Iterator[TaxOffice]:
    with open_office(tmp_path) as office:
        for name, value in {**office.settings, "SEFIN_TIMEOUT_SECONDS": 30.0}.items():
            setattr(settings, name, value)
        yield office
        exchanges.close_clients()


@dataclass
class World:
    """Who consumes, and what the test itself knows of it."""

    random: Random
    wallets: list[Wallet] = field(default_factory=list)
    told: dict[int, set[uuid.UUID]] = field(default_factory=dict)  # by organization: calls that a close has told
    expected: dict[tuple[int, dt.date], Decimal] = field(default_factory=dict)  # by organization and month: reais
    crumbs: Wallet | None = None  # 0.4 centavo a month
    gifts: Wallet | None = None  # promotional money alone


def tax_id_for(number: int) -> str:
    """CNPJ, CNPJ with letters, CPF in turn; the check digits are tried until they hold."""
    for digits in range(100):
        candidate = [f"{30_000_000 + number:08d}0001", f"{_letters(number)}0001", f"{200_000_000 + number:09d}"][number % 3]
        try:
            return (parse_cpf if number % 3 == 2 else parse_cnpj)(f"{candidate}{digits:02d}")
        except InvalidTaxId:
            continue
    raise AssertionError(number)


def _letters(number: int) -> str:
    text = ""
    for _ in range(5):
        number, rest = divmod(number, len(LETTERS))
        text = LETTERS[rest] + text
    return f"7K{text}Z"


def make_world() -> World:
    world = World(Random(20_261_122))
    make_volume_plan(tiers=((20 * BRL, 500), (60 * BRL, 1_137)))
    for number in range(ORGANIZATIONS + 2):
        organization = make_organization(name=f"Empresa {number} & Filhos", tax_id=tax_id_for(number))
        is_person = len(organization.tax_id) == 11
        organization.address = {} if is_person and number % 2 else ADDRESS
        organization.invoice_email = f"fiscal{number}@example.com.br"
        organization.save()
        world.wallets.append(make_wallet(organization=organization, brl="0"))
    world.crumbs, world.gifts = world.wallets[-2:]
    with psycopg.connect(stores.postgres.superuser_url, autocommit=True) as other:
        other.execute("SET session_replication_role = replica")
        other.execute("UPDATE billing_wallet SET created_at = %s", [moment(month_ago(MONTHS), 1, 1)])
    return world


def fund(world: World, number: int, wallet: Wallet) -> None:
    random = world.random
    if wallet == world.gifts or (number % 3 == 0 and wallet != world.crumbs):
        ledger.grant(wallet, amount_nanos=random.randrange(BRL, 3 * BRL), reference=f"grant:{uuid.uuid4()}", actor="test")
    if wallet == world.crumbs:
        make_top_up(wallet=wallet, brl="1")
    elif wallet != world.gifts:
        make_top_up(wallet=wallet, brl=f"{random.randrange(5, 40)}.{random.randrange(100):02d}")


def calls_of(world: World, number: int, wallet: Wallet, month: Month) -> list[holds.EndedCall]:
    """Of a month: some fractions of a centavo, some beyond the money that is there."""
    random = world.random
    if wallet == world.crumbs:
        return [make_call(wallet=wallet, gross_nanos=4_000_000, id_=id_at(moment(month)), route_name=ROUTES[0])]
    if wallet == world.gifts:
        return [make_call(wallet=wallet, gross_nanos=BRL // 3, id_=id_at(moment(month)), route_name=ROUTES[0])]
    amounts = [random.randrange(1, 3 * BRL) for _ in range(random.randrange(3, 9))] + [random.randrange(5 * BRL, 9 * BRL), 0]
    if number % 5 == 0:
        amounts.append(random.randrange(40 * BRL, 60 * BRL))  # more than there is: the rest is owed
    return [
        make_call(
            wallet=wallet, gross_nanos=amount, id_=id_at(moment(month, random.randrange(1, 29), random.randrange(24))),
            route_name=random.choice(ROUTES), is_own_key=amount % 7 == 0,
        )
        for amount in amounts
    ]  # fmt: skip


def spend(world: World, month: Month, number: int) -> None:
    """The month's calls, and some of the month before that come after its close."""
    calls = []
    for position, wallet in enumerate(world.wallets):
        fund(world, position, wallet)
        calls += calls_of(world, position, wallet, month)
        if number and position % 4 == 0 and wallet not in (world.crumbs, world.gifts):
            late = moment(month_ago(MONTHS - number + 1), 27)
            calls += [
                make_call(wallet=wallet, gross_nanos=world.random.randrange(1, BRL), id_=id_at(late), route_name=ROUTES[1])
                for _ in range(2)
            ]
    world.random.shuffle(calls)
    for start in range(0, len(calls), 50):
        holds.settle(calls[start : start + 50])


def close(world: World, month: Month) -> None:
    """Close every wallet's month, and sum up ourselves what that told: whatever was settled until now and was not told before."""
    for wallet in world.wallets:
        closing.close_month(Wallet.everywhere.get(pk=wallet.pk), month)
        known = world.told.setdefault(wallet.organization_id, set())
        reais = Decimal(0)
        for call, net, promo in UsageRecord.everywhere.filter(wallet=wallet).values_list("id", "net_nanos", "promo_nanos"):
            if call not in known:
                known.add(call)
                reais += (Decimal(net) - Decimal(promo)).scaleb(-9)
        world.expected[wallet.organization_id, month.first_on] = reais


def issue_all(seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    while Invoice.everywhere.filter(due_at__isnull=False).exists():
        assert time.monotonic() < ends_at, list(Invoice.everywhere.exclude(status="issued").values_list("status", "problem")[:5])
        queue.issue_due(seconds=30)


def by_the_residue_rule(world: World, organization_id: int) -> dict[dt.date, int]:
    """Centavos by month; written anew, in Decimal."""
    amounts: dict[dt.date, int] = {}
    consumed = Decimal(0)
    for (owner, month), reais in sorted(world.expected.items(), key=lambda item: item[0][1]):
        if owner == organization_id:
            consumed += reais
            due = int((consumed * 100 + Decimal("0.5")).to_integral_value(ROUND_FLOOR)) - sum(amounts.values())
            if due > 0:
                amounts[month] = due
    return amounts


def check_note(invoice: Invoice, *, ca_file: str) -> Decimal:
    """The document itself: schema, both signatures, and what it says. Returns its amount."""
    root = etree.fromstring(bytes(invoice.nfse_xml or b""))
    assert fiscal_xml.find_schema_errors(root, "NFSe") == []
    for name in ("infNFSe", "infDPS"):
        element = next(root.iter(f"{{{NS['n']}}}{name}"))
        xmlsec.tree.add_ids(element, ["Id"])
        parent = element.getparent()
        assert parent is not None
        manager = xmlsec.KeysManager()
        manager.load_cert(ca_file, xmlsec.constants.KeyDataFormatPem, xmlsec.constants.KeyDataTypeTrusted)
        xmlsec.SignatureContext(manager).verify(parent.find("d:Signature", NS))  # type: ignore[call-arg]  # its stub forgot it
    dps = next(root.iter(f"{{{NS['n']}}}infDPS"))
    assert dps.findtext("n:dCompet", None, NS) == str(closing.last_day_of(MonthClose(month=invoice.month)))
    taker = dps.findtext("n:toma/n:CNPJ", None, NS) or dps.findtext("n:toma/n:CPF", None, NS)
    assert taker == invoice.organization.tax_id
    return Decimal(dps.findtext("n:valores/n:vServPrest/n:vServ", None, NS))


def check_against_the_office(office: TaxOffice) -> None:
    """Note by note: what exists there is what stands here, and nothing else."""
    there = {note["access_key"]: note for note in office.notes()}
    here = {invoice.access_key: invoice for invoice in Invoice.everywhere.all()}
    assert there.keys() == here.keys()
    for key, note in there.items():
        invoice = here[key]
        told = (note["dps_id"], Decimal(note["amount"]), note["taker_tax_id"], str(note["number"]), note["status"])
        ours = (invoice.dps_id, Decimal(invoice.amount_centavos) / 100, invoice.organization.tax_id, invoice.nfse_number, "issued")
        assert told == ours
    assert sorted(invoice.number or 0 for invoice in here.values()) == list(range(1, len(here) + 1)), "no number burnt"


@pytest.mark.torture
@pytest.mark.timeout(3_600 if IS_LONG else 180)
def test_three_months_of_every_organization_are_issued_to_the_centavo(
    committed_db: None, office: TaxOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafting, "first_business_day", lambda month: month.replace(day=1))
    make_issuer(pfx=office.pfx())
    world = make_world()
    started = time.monotonic()
    for number in range(MONTHS):
        month = month_ago(MONTHS - number)
        spend(world, month, number)
        close(world, month)
        before = Invoice.everywhere.count()
        assert drafting.draft_due_months() == Invoice.everywhere.count() - before
        assert Invoice.everywhere.filter(month=month.first_on, organization__in=paying(world)).count() == ORGANIZATIONS
        issue_all(seconds=900 if IS_LONG else 60)
    took = time.monotonic() - started
    notes = list(Invoice.everywhere.select_related("organization").order_by("pk"))
    assert {invoice.status for invoice in notes} == {Invoice.Status.ISSUED}
    assert len(notes) == MONTHS * ORGANIZATIONS + 1, "the crumbs of two months are one centavo"
    amounts: dict[int, dict[dt.date, int]] = {}
    ca_file = str(office.home / "sandbox" / "fiscal-ca.pem")
    for invoice in notes:
        assert check_note(invoice, ca_file=ca_file) * 100 == invoice.amount_centavos
        amounts.setdefault(invoice.organization_id, {})[invoice.month] = invoice.amount_centavos
    for wallet in world.wallets:
        assert amounts.get(wallet.organization_id, {}) == by_the_residue_rule(world, wallet.organization_id)
    assert world.gifts is not None and world.gifts.organization_id not in amounts
    assert InvoiceLine.everywhere.filter(route_name=drafting.LATE).exists()
    assert (
        MonthClose.everywhere.filter(overdraft_nanos__gt=0).exists()
        and MonthClose.everywhere.filter(promo_used_nanos__gt=0).exists()
    )
    check_against_the_office(office)
    assert find_violations() == []
    print(f"{len(notes)} notes of {ORGANIZATIONS} organizations in {took:.1f} s; R$ {sum(n.amount_centavos for n in notes) / 100}")


def paying(world: World) -> list[Organization]:
    return [wallet.organization for wallet in world.wallets if wallet not in (world.crumbs, world.gifts)]
