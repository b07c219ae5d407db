"""Sale prices: a draft is computed from costs, exchange rate and markup; once published it never changes.

amount = ceil(cost in US$ × R$ per US$ × markup × 10⁹) nano-reais per `per_units`, exact in Decimal; an override in reais wins.
In a batch a call costs `batch_percent` of it, raised in the draft to where it covers the cost. Served by the customer's own key
it costs `own_key_percent` of it, whatever the cost, which is the customer's.
One version of the default book is in force: the newest published one whose `effective_at` has come.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import Max, Min

from accounts.models import User
from billing import exchange
from billing.costs import latest_costs
from billing.errors import BillingError
from billing.models import ExchangeRate, Price, PriceApproval, PriceBook, PriceVersion, ProviderCost
from billing.price_changes import FeltChange, cost_of_line, dearer, felt_changes
from billing.price_margins import LineMargin, amount_for, digest_of, judge_version
from billing.price_notices import write_notices
from billing.pricing import PriceList, UnitPrice, per_units_of
from tokia import clock

BATCH_PERCENT = 75
OWN_KEY_PERCENT = 5
PROPOSAL_NOTE = "Proposta automática: custos mudaram"
SLACK = dt.timedelta(minutes=1)  # between reading a form and posting it


class PriceRefused(BillingError):
    """A draft that can't be computed or published; the message names the line."""

    code = "price_refused"
    status = 409


class ApprovalNeeded(PriceRefused):
    """One administrator alone may not publish this: see `billing.approvals`."""

    code = "price_approval_needed"


@dataclass(frozen=True, slots=True)
class PriceLine:
    """What a person decides about one route; the units and costs come from the ProviderCosts of the upstream model."""

    route_name: str
    provider_name: str
    upstream_model: str
    markup: Decimal
    overrides: Mapping[str, int] = field(default_factory=dict)  # unit → nanos per `per_units`
    override_reason: str = ""  # needed where an override is below cost
    batch_percent: int = BATCH_PERCENT
    own_key_percent: int = OWN_KEY_PERCENT


# ── Drafts ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def batch_floor(price: Price, rate: Decimal | None) -> int:
    """The least percentage of the line's amount that covers its cost, at most 100."""
    if price.amount_nanos == 0:
        return 1
    return max(1, min(100, -(-100 * cost_of_line(price, rate) // price.amount_nanos)))


def default_book() -> PriceBook:
    book, _ = PriceBook.objects.get_or_create(is_default=True, defaults={"name": "Padrão"})
    return book


def draft_version(
    *, lines: Iterable[PriceLine], note: str = "", book: PriceBook | None = None, by: User | None = None
) -> PriceVersion:
    """A draft at the newest costs and the current exchange rate. `by`: its author, who may not approve it.

    Raises PriceRefused for a line with neither costs nor overrides, ExchangeRateStale for a stale rate.
    """
    costs = latest_costs()
    prices = [price for line in lines for price in _prices_of(line, costs.get((line.provider_name, line.upstream_model), {}))]
    return _save_draft(prices, note=note, book=book or default_book(), by=by)


def draft_from_current(*, note: str = "", book: PriceBook | None = None, by: User | None = None) -> PriceVersion:
    """A draft with the lines and the rate policy of the version in force, at the newest costs and the current exchange rate."""
    book = book or default_book()
    current = version_in_force(book=book)
    costs = latest_costs()
    copies: list[Price] = []
    for old in Price.objects.filter(version=current).order_by("route_name", "id") if current else []:
        copy = Price(
            route_name=old.route_name, unit=old.unit, per_units=old.per_units, provider_name=old.provider_name,
            upstream_model=old.upstream_model, cost_usd=old.cost_usd, markup=old.markup,
            override_nanos=old.override_nanos, override_reason=old.override_reason, batch_percent=old.batch_percent,
            own_key_percent=old.own_key_percent,
        )  # fmt: skip
        _follow_cost(copy, costs)
        copies.append(copy)
    return _save_draft(copies + _newly_costed(copies, costs), note=note, book=book, by=by, like=current)


def recompute(version: PriceVersion) -> PriceVersion:
    """A draft's amounts again, at the current exchange rate; after a person edited its lines. Raises PriceRefused."""
    with transaction.atomic():
        locked = lock_draft(version)
        locked.exchange_rate = exchange.current_rate()
        locked.save(update_fields=["exchange_rate"])
        prices = list(Price.objects.filter(version=locked))
        _compute(prices, locked.exchange_rate)
        _raise_batch_percents(prices, locked.exchange_rate)
        Price.objects.bulk_update(prices, ["amount_nanos", "batch_percent"])
    version.refresh_from_db()
    return version


def costs_that_differ(version: PriceVersion | None = None) -> set[tuple[str, str]]:
    """(route, unit) whose newest cost is not the one that a version (the one in force, if empty) was computed from."""
    version = version or version_in_force()
    costs = latest_costs()
    lines = list(Price.objects.filter(version=version)) if version else []
    changed = {(line.route_name, line.unit) for line in lines if _follow_cost(line, costs)}
    return changed | {(line.route_name, line.unit) for line in _newly_costed(lines, costs)}


def add_author(version: PriceVersion, *, user: User) -> None:
    """Somebody edited a draft, and so may not approve it."""
    with transaction.atomic():
        locked = lock_draft(version)
        if user.pk not in locked.author_ids:
            locked.author_ids = [*locked.author_ids, user.pk]
            locked.save(update_fields=["author_ids"])
    version.author_ids = locked.author_ids


def propose_draft() -> PriceVersion | None:
    """One draft at the newest costs when they differ from the version in force, else None. Never publishes."""
    return renew_proposal(note=PROPOSAL_NOTE) if costs_that_differ() else None


def renew_proposal(*, note: str) -> PriceVersion:
    """The proposal of that note at the newest costs and the current exchange rate.

    An earlier one that nobody published is brought up to date, with whatever markups a person gave it.
    """
    drafts = PriceVersion.objects.filter(book__is_default=True, status=PriceVersion.Status.DRAFT, note=note)
    draft = drafts.order_by("-number").first()
    if draft is None:
        return draft_from_current(note=note)
    costs = latest_costs()
    with transaction.atomic():
        lock_draft(draft)
        lines = list(Price.objects.filter(version=draft))
        for line in lines:
            _follow_cost(line, costs)
        Price.objects.bulk_update(lines, ["cost_usd", "per_units"])
        return recompute(draft)


def _prices_of(line: PriceLine, costs: Mapping[str, ProviderCost]) -> list[Price]:
    units = list(dict.fromkeys([*costs, *line.overrides]))
    if not units:
        raise PriceRefused(f"{line.route_name}: sem custo de {line.provider_name}/{line.upstream_model} e sem preço fixo.")
    return [
        Price(
            route_name=line.route_name, unit=unit,
            per_units=costs[unit].per_units if unit in costs else per_units_of(unit),
            provider_name=line.provider_name, upstream_model=line.upstream_model,
            cost_usd=costs[unit].usd if unit in costs else None, markup=line.markup,
            override_nanos=line.overrides.get(unit), override_reason=line.override_reason if unit in line.overrides else "",
            batch_percent=line.batch_percent, own_key_percent=line.own_key_percent,
        )
        for unit in units
    ]  # fmt: skip


def _follow_cost(line: Price, costs: Mapping[tuple[str, str], Mapping[str, ProviderCost]]) -> bool:
    """Put the newest cost on a line, and tell whether it is another one. A price fixed by hand stays per what it was fixed for."""
    newest = costs.get((line.provider_name, line.upstream_model), {}).get(line.unit)
    if newest is None or (newest.usd, newest.per_units) == (line.cost_usd, line.per_units):
        return False
    if newest.per_units != line.per_units and line.override_nanos is not None:
        return False
    line.cost_usd, line.per_units = newest.usd, newest.per_units
    return True


def _newly_costed(copies: list[Price], costs: Mapping[tuple[str, str], Mapping[str, ProviderCost]]) -> list[Price]:
    """Units that a provider prices now and did not when the version in force was made, at their route's input markup."""
    routes: dict[tuple[str, str, str], dict[str, Price]] = defaultdict(dict)
    for copy in copies:
        routes[copy.route_name, copy.provider_name, copy.upstream_model][copy.unit] = copy
    return [
        Price(
            route_name=route_name, unit=unit, per_units=cost.per_units, provider_name=provider_name,
            upstream_model=upstream_model, cost_usd=cost.usd, markup=next(iter(units.values())).markup,
            batch_percent=next(iter(units.values())).batch_percent,
            own_key_percent=next(iter(units.values())).own_key_percent,
        )
        for (route_name, provider_name, upstream_model), units in routes.items()
        for unit, cost in costs.get((provider_name, upstream_model), {}).items()
        if unit not in units and not any(price.override_nanos is not None for price in units.values())
    ]  # fmt: skip


def _save_draft(
    prices: list[Price], *, note: str, book: PriceBook, by: User | None, like: PriceVersion | None = None
) -> PriceVersion:
    rate = exchange.current_rate()
    policy = {"rate_policy": like.rate_policy, "drift_alarm_bps": like.drift_alarm_bps} if like else {}
    _compute(prices, rate)
    _raise_batch_percents(prices, rate)
    with transaction.atomic():
        PriceBook.objects.select_for_update().get(pk=book.pk)  # numbers without gaps or clashes
        last = PriceVersion.objects.filter(book=book).aggregate(last=Max("number"))["last"] or 0
        version = PriceVersion.objects.create(
            book=book, number=last + 1, exchange_rate=rate, note=note[:200], author_ids=[by.pk] if by else [], **policy
        )
        for price in prices:
            price.version = version
        Price.objects.bulk_create(prices)
    return version


def _compute(prices: Iterable[Price], rate: ExchangeRate) -> None:
    for price in prices:
        if price.override_nanos is not None:
            price.amount_nanos = price.override_nanos
        elif price.cost_usd is not None and price.markup is not None:
            price.amount_nanos = amount_for(price.cost_usd, rate.rate, price.markup)
        else:
            raise PriceRefused(f"{price.route_name}, {price.get_unit_display()}: informe custo e markup, ou um preço fixo.")


def _raise_batch_percents(prices: Iterable[Price], rate: ExchangeRate) -> None:
    for price in prices:
        price.batch_percent = max(price.batch_percent, batch_floor(price, rate.rate))


# ── Publishing ───────────────────────────────────────────────────────────────────────────────────────────────────────
def publish_version(
    version: PriceVersion, *, by: str, effective_at: dt.datetime | None = None, approval: PriceApproval | None = None
) -> PriceVersion:
    """Freeze a draft; it is in force from `effective_at` (now, if empty) and gateways follow within two seconds.

    In the same transaction, whoever used a route whose prices change gets a notice. Raises PriceRefused: not a draft, no line, a
    price below its cost without a reason, an instant in the past, a stale rate; ApprovalNeeded: the margin guard stops a line, or
    something gets dearer before the notice period is over, and `approval` is not another administrator's for exactly this.
    """
    with transaction.atomic():
        book = PriceBook.objects.select_for_update().get(pk=version.book_id)  # one publication at a time: each has one before it
        locked, prices = prove_draft(version)
        now = clock.now()
        if effective_at is not None and effective_at < now - SLACK:
            raise PriceRefused("A vigência não pode começar no passado.")
        check = check_publication(locked, effective_at=effective_at)
        if check.needs_approval and not _is_approved(locked, prices, check, approval, effective_at):
            raise ApprovalNeeded(check.told)
        locked.status = PriceVersion.Status.PUBLISHED
        locked.effective_at, locked.published_at, locked.published_by = effective_at or now, now, by[:150]
        locked.save()
        if book.is_default and check.current is not None:
            write_notices(locked, changes=check.changes)
    version.refresh_from_db()
    return version


@dataclass(frozen=True, slots=True)
class PublicationCheck:
    """What stands against publishing a draft at an instant, and what its callers would feel."""

    current: PriceVersion | None  # what it takes over from
    stopped: list[LineMargin]
    changes: list[FeltChange]
    is_hurried: bool  # something gets dearer before the notice period is over

    @property
    def needs_approval(self) -> bool:
        return bool(self.stopped) or self.is_hurried

    @property
    def told(self) -> str:
        parts = []
        if self.stopped:
            line = self.stopped[0]
            rest = f" e mais {len(self.stopped) - 1}" if len(self.stopped) > 1 else ""
            parts.append(f"{line.route_name}, {line.unit_label.lower()}: {', '.join(line.flag_labels)}{rest}.")
        if self.is_hurried:
            parts.append(
                f"Há aumento de preço com menos de {settings.PRICE_NOTICE_DAYS} dias de aviso: marque uma data depois disso"
                " ou peça como emergência."
            )
        return " ".join([*parts, "Só com a aprovação de outro administrador."])


def check_publication(version: PriceVersion, *, effective_at: dt.datetime | None = None) -> PublicationCheck:
    """The margin guard and the notice period, for a draft that would be in force from an instant (now, if empty)."""
    now = clock.now()
    starts_at = max(effective_at or now, now)
    current = version_in_force(starts_at, book=version.book)
    changes = felt_changes(current, version) if current else []
    return PublicationCheck(
        current=current,
        stopped=[line for line in judge_version(version, at=starts_at) if line.is_stopping],
        changes=changes,
        is_hurried=bool(dearer(changes)) and starts_at < now + dt.timedelta(days=settings.PRICE_NOTICE_DAYS) - SLACK,
    )


def prove_draft(version: PriceVersion) -> tuple[PriceVersion, list[Price]]:
    """The draft, locked, with its lines computed again: never trust a stored product. Raises PriceRefused; in a transaction."""
    locked = lock_draft(version)
    rate = locked.exchange_rate
    if rate is None or exchange.is_stale(rate):
        raise PriceRefused("O câmbio desta versão já não vale. Recalcule antes de publicar.")
    prices = list(Price.objects.filter(version=locked))
    if not prices:
        raise PriceRefused("Esta versão não tem nenhum preço.")
    _compute(prices, rate)
    for price in prices:
        _check_margin(price, rate.rate)
    Price.objects.bulk_update(prices, ["amount_nanos"])
    return locked, prices


def _is_approved(
    version: PriceVersion,
    prices: list[Price],
    check: PublicationCheck,
    approval: PriceApproval | None,
    effective_at: dt.datetime | None,
) -> bool:
    if approval is None or approval.version_id != version.pk or approval.status != PriceApproval.Status.APPROVED:
        return False
    if approval.decided_by_id in (None, approval.asked_by_id, *version.author_ids):
        return False
    is_same = approval.digest == digest_of(prices) and approval.effective_at == effective_at
    return is_same and (approval.is_emergency or not check.is_hurried)


def lock_draft(version: PriceVersion) -> PriceVersion:
    locked = PriceVersion.objects.select_for_update(of=("self",)).select_related("exchange_rate").get(pk=version.pk)
    if locked.status != PriceVersion.Status.DRAFT:
        raise PriceRefused("Uma versão publicada nunca muda. Crie um rascunho a partir dela.")
    return locked


def _check_margin(price: Price, rate: Decimal) -> None:
    cost_nanos = cost_of_line(price, rate)
    if price.amount_nanos < cost_nanos and not price.override_reason.strip():
        raise PriceRefused(
            f"{price.route_name}, {price.get_unit_display()}: o preço fica abaixo do custo. Informe o motivo na linha."
        )
    if price.batch_percent < batch_floor(price, rate):
        raise PriceRefused(f"{price.route_name}, {price.get_unit_display()}: o preço em lote fica abaixo do custo. Recalcule.")


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def version_in_force(at: dt.datetime | None = None, *, book: PriceBook | None = None) -> PriceVersion | None:
    """The published version of the default (or given) book in force at an instant (now, if empty)."""
    versions = PriceVersion.objects.filter(status=PriceVersion.Status.PUBLISHED, effective_at__lte=at or clock.now())
    versions = versions.filter(book=book) if book else versions.filter(book__is_default=True)
    return versions.select_related("exchange_rate").order_by("-effective_at", "-number").first()


def price_lists(at: dt.datetime | None = None) -> dict[str, PriceList]:
    """Every route's prices in force at an instant (now, if empty), by route name. No published version: empty."""
    version = version_in_force(at)
    return {} if version is None else lists_of(version)


def lists_of(version: PriceVersion) -> dict[str, PriceList]:
    """The same of one version, in force or not: a draft's are what would be asked if it were."""
    rate = version.exchange_rate.rate if version.exchange_rate else None
    units: dict[str, dict[str, UnitPrice]] = defaultdict(dict)
    for price in Price.objects.filter(version=version):
        units[price.route_name][price.unit] = UnitPrice(
            amount_nanos=price.amount_nanos, cost_nanos=cost_of_line(price, rate), per_units=price.per_units,
            batch_percent=price.batch_percent, own_key_percent=price.own_key_percent,
        )  # fmt: skip
    label = f"v{version.number}"
    return {name: PriceList(version_id=version.pk, version_label=label, units=prices) for name, prices in units.items()}


def own_key_percents() -> tuple[int, int] | None:
    """The least and the most that is asked of a price where a customer's own key serves; None without a published version."""
    found = Price.objects.filter(version=version_in_force()).aggregate(least=Min("own_key_percent"), most=Max("own_key_percent"))
    return None if found["most"] is None else (found["least"], found["most"])


def next_change_at(after: dt.datetime | None = None) -> dt.datetime | None:
    """When a scheduled version comes into force, for whoever keeps prices in memory."""
    scheduled = PriceVersion.objects.filter(
        status=PriceVersion.Status.PUBLISHED, book__is_default=True, effective_at__gt=after or clock.now()
    )
    first = scheduled.order_by("effective_at").first()
    return first.effective_at if first else None
