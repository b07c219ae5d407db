"""The spreadsheet of a draft's prices: cells, a percentage on a selection, what it would mean, a file out and in, a simulation."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from unfold.admin import ModelAdmin

from accounts.models import User
from billing import price_effects, price_files, price_grid, price_margins, pricebooks
from billing.admin_parts import change_url
from billing.errors import BillingError, PriceMissing
from billing.models import Price, PriceApproval, PriceVersion
from billing.price_cells import PERCENT_MAX, PERCENT_MIN, BadCell, Cells, cells_of, raise_by, read_number, write_number
from billing.price_changes import PriceChange, compare_lines, cost_of_line
from billing.price_grid import CellError, CellsRefused, Reading
from billing.pricing import PriceList, UnitPrice, Usage, cost_of, price_usage
from billing.sheets import sheet
from tokia import clock
from tokia.errors import TokiaError

LINES_SHOWN = 250  # three fields each, and a form has at most 1 000
TOKENS_MAX = 10**12
SIMULATED = (
    ("input_tokens", "Tokens de entrada"), ("cached_input_tokens", "Tokens de entrada em cache"),
    ("output_tokens", "Tokens de saída"), ("requests", "Requisições"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """A line as the grid shows it."""

    price: Price  # as it would be
    cells: Cells  # as typed
    saved: Cells
    change: PriceChange  # against what is in force
    margin: price_margins.LineMargin
    cost_nanos: int
    effect_nanos: int
    error: CellError | None
    is_unsaved: bool
    is_picked: bool
    is_first: bool  # of its model

    @property
    def key(self) -> str:
        """In the names of fields: a number would be written 1.234 in a template."""
        return str(self.price.pk)

    @property
    def dollars(self) -> str:
        return write_number(self.price.cost_usd)

    @property
    def over_cost(self) -> str:
        return f"{write_number(self.change.markup)}×" if self.change.markup is not None else "—"

    @property
    def told_change(self) -> str:
        percent = self.change.percent
        told = self.change.kind_label
        return told if percent is None or self.change.kind == "same" else f"{told} {f'{percent:+}'.replace('.', ',')}%"

    @property
    def marks(self) -> str:
        return " ".join(
            name
            for name, is_so in (
                ("is-first", self.is_first), ("is-unsaved", self.is_unsaved), ("is-wrong", self.error is not None),
                ("is-stopping", self.margin.is_stopping),
            )
            if is_so
        )  # fmt: skip


class Grid:
    """One look at a draft: its lines, what a form typed into them, and what that would mean."""

    def __init__(self, version: PriceVersion, *, query: QueryDict, form: QueryDict | None) -> None:
        self.version, self.query, self.form = version, query, form
        self.rate = version.exchange_rate.rate if version.exchange_rate else None
        self.current = pricebooks.version_in_force(book=version.book)
        self.before = price_grid.lines_of(self.current) if self.current else []
        self.saved = price_grid.lines_of(version)
        self.reason = form.get("reason", "") if form else ""
        self.typed = {
            price.pk: Cells(form.get(f"amount-{price.pk}", ""), form.get(f"markup-{price.pk}", ""))
            for price in self.saved
            if form is not None and f"amount-{price.pk}" in form
        }
        self.picked = set(form.getlist("pick")) if form else set()
        self.reading: Reading = price_grid.work_out(self.saved, self.typed, rate=self.rate, reason=self.reason)

    def raise_selection(self, text: str) -> str:
        """Put a percentage on the picked lines, in the cells only; what stood against it, in words."""
        try:
            percent = read_number(text)
        except ValueError:
            percent = None
        if percent is None or not PERCENT_MIN <= percent <= PERCENT_MAX or not percent:
            return f"Digite a variação em %, entre {PERCENT_MIN} e {PERCENT_MAX}, como 5 ou -2,5."
        if not self.picked:
            return "Marque ao menos uma linha para aplicar a variação."
        if self.reading.errors:
            return "Corrija as células marcadas antes de aplicar a variação."
        for price in self.reading.prices:
            if str(price.pk) in self.picked:
                try:
                    self.typed[price.pk] = raise_by(price, percent)
                except BadCell as bad:
                    return f"{price_grid.name_of(price)}: {bad.message}"
        self.reading = price_grid.work_out(self.saved, self.typed, rate=self.rate, reason=self.reason)
        return ""

    def changes(self) -> dict[tuple[str, str], PriceChange]:
        before = {(price.route_name, price.unit): price for price in self.before}
        after = {(price.route_name, price.unit): price for price in self.reading.prices}
        return {name: compare_lines(name, before.get(name), after.get(name), self.rate) for name in before.keys() | after.keys()}

    def judged(self) -> list[price_margins.LineMargin]:
        return price_margins.judge_prices(self.reading.prices, rate=price_margins.guard_rate(self.version.exchange_rate))

    def effect(self) -> price_effects.Effect:
        rate = self.current.exchange_rate.rate if self.current and self.current.exchange_rate else None
        volumes = price_effects.recent_volumes()
        return price_effects.effect_of(self.before, self.reading.prices, rates=(rate, self.rate), volumes=volumes)

    def rows(self, changes: dict[tuple[str, str], PriceChange], effect: price_effects.Effect) -> list[Row]:
        """Those that the filters let through; what was typed on this page stays in sight whatever they say."""
        provider, words = self.query.get("provedor", ""), self.query.get("q", "").strip().lower()
        wants_changed = self.query.get("mostrar") == "mudou"
        errors = {error.price_id: error for error in self.reading.errors}
        rows: list[Row] = []
        for saved, price, margin in zip(self.saved, self.reading.prices, self.judged(), strict=True):
            change = changes[price.route_name, price.unit]
            is_hidden = (provider and price.provider_name != provider) or (words and words not in price.route_name.lower())
            if is_hidden or (wants_changed and change.kind == "same" and price.pk not in self.typed):
                continue
            rows.append(
                Row(
                    price=price, cells=self.typed.get(price.pk, cells_of(saved)), saved=cells_of(saved), change=change,
                    margin=margin,
                    cost_nanos=cost_of_line(price, self.rate), effect_nanos=effect.by_line.get((price.route_name, price.unit), 0),
                    error=errors.get(price.pk), is_unsaved=price.pk in self.reading.changed, is_picked=str(price.pk) in self.picked,
                    is_first=not rows or rows[-1].price.route_name != price.route_name,
                )
            )  # fmt: skip
        return rows

    def simulate(self) -> dict[str, Any] | str | None:
        """A call of one model at the prices in force and at these; None where nobody asked, words where it can't be."""
        if self.form is None or self.form.get("act") != "simulate":
            return None
        route = self.form.get("sim-route", "")
        try:
            quantities = {name: int(self.form.get(f"sim-{name}", "").replace(".", "").strip() or 0) for name, _ in SIMULATED}
        except ValueError:
            return "Digite números inteiros de tokens e requisições."
        if not all(0 <= quantity <= TOKENS_MAX for quantity in quantities.values()):
            return "Use quantidades de zero a um trilhão."
        usage = Usage(**quantities)
        sides = [_list_of(self.before, route, self.rate), _list_of(self.reading.prices, route, self.rate)]
        if not sides[1].units:
            return "Escolha um modelo deste rascunho."
        try:
            after = price_usage(sides[1], usage)
            before = price_usage(sides[0], usage) if sides[0].units else None
        except PriceMissing as missing:
            return missing.message
        cost = cost_of(sides[1], usage)
        percent = price_margins.landed_percent(clock.today_in_brazil())
        landed = -(-cost * (100 + percent) // 100)
        bps = int((after - landed) * 10_000 // after) if after else None
        return {"route": route, "cost": cost, "landed": int(landed), "before": before, "after": after, "bps": bps}


def _list_of(prices: list[Price], route: str, rate: Decimal | None) -> PriceList:
    units = {
        price.unit: UnitPrice(price.amount_nanos, cost_of_line(price, rate), price.per_units)
        for price in prices
        if price.route_name == route
    }
    return PriceList(version_id=0, version_label="", units=units)


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def choose_draft(admin_: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """The way to the grid from the list: an open draft, or a new one at the newest costs and the current rate."""
    if request.method == "POST":
        try:
            draft = pricebooks.draft_from_current(note="Edição em grade", by=cast(User, request.user))
        except TokiaError as refusal:
            messages.error(request, refusal.message)
            return redirect(request.path)
        return redirect(reverse("admin:billing_priceversion_grid", args=[draft.pk]))
    drafts = PriceVersion.objects.filter(status=PriceVersion.Status.DRAFT).select_related("book", "exchange_rate").order_by("-id")
    context = {
        **admin_.admin_site.each_context(request), "title": "Editar preços em grade", "opts": admin_.opts, "drafts": drafts[:20],
        "current": pricebooks.version_in_force(), "back": reverse("admin:billing_priceversion_changelist"),
    }  # fmt: skip
    return render(request, "admin/billing/price_drafts.html", context)


def edit_grid(admin_: ModelAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    """`…/grade/`: GET shows or downloads; POST checks, applies a percentage, simulates, imports, saves."""
    version = get_object_or_404(PriceVersion.objects.select_related("book", "exchange_rate"), pk=object_id)
    if version.status != PriceVersion.Status.DRAFT:
        messages.error(request, "Uma versão publicada nunca muda. Crie um rascunho a partir dela.")
        return redirect(change_url(version))
    act = request.POST.get("act", "check") if request.method == "POST" else ""
    if act == "import":
        return _import(admin_, request, version)
    grid = Grid(version, query=request.GET, form=request.POST if act else None)
    if request.GET.get("formato") == "csv" and not act:
        rows = price_files.rows_of(grid.saved, rate=grid.rate, judged=grid.judged(), changes=grid.changes())
        return sheet(f"precos-v{version.number}", rows)
    problem = ""
    if act == "apply":
        problem = grid.raise_selection(request.POST.get("percent", ""))
    elif act in ("save", "compare"):
        try:
            return _save(admin_, request, version, grid, is_compared=act == "compare")
        except BillingError as refusal:
            problem = refusal.message
    return _show(admin_, request, grid, problem=problem)


def _save(admin_: ModelAdmin, request: HttpRequest, version: PriceVersion, grid: Grid, *, is_compared: bool) -> HttpResponse:
    count = price_grid.save_cells(
        version, grid.typed, by=cast(User, request.user), reason=grid.reason, digest=request.POST.get("digest", "")
    )
    _tell(admin_, request, version, count, reason=grid.reason)
    if is_compared:
        return redirect(reverse("admin:billing_priceversion_publish", args=[version.pk]))
    return redirect(request.get_full_path())


def _import(admin_: ModelAdmin, request: HttpRequest, version: PriceVersion) -> HttpResponse:
    """The whole file into the draft, or nothing of it and the list of what is wrong."""
    grid = Grid(version, query=request.GET, form=None)
    grid.reason = request.POST.get("reason", "")
    file = request.FILES.get("file")
    errors: list[CellError] = []
    try:
        if file is None:
            raise price_files.UnreadableFile("Escolha o arquivo.")
        if (file.size or 0) > price_files.BYTES_MAX:
            raise price_files.UnreadableFile("O arquivo passa de 1 MB.")
        found = price_files.read_file(file.read(), grid.saved)
        checked = price_grid.work_out(grid.saved, found.typed, rate=grid.rate, reason=grid.reason, lines=found.lines)
        errors = sorted([*found.errors, *checked.errors], key=lambda error: error.line)
        if errors:
            raise CellsRefused(errors)
        count = price_grid.save_cells(
            version, found.typed, by=cast(User, request.user), reason=grid.reason, digest=price_margins.digest_of(grid.saved),
            lines=found.lines,
        )  # fmt: skip
    except price_files.UnreadableFile as unreadable:
        return _show(admin_, request, grid, problem=f"{unreadable} Nada foi salvo.")
    except BillingError as refusal:
        return _show(admin_, request, grid, problem=refusal.message, rejected=errors)
    _tell(admin_, request, version, count, reason=grid.reason, source="do arquivo ")
    return redirect(
        reverse("admin:billing_priceversion_publish" if count else "admin:billing_priceversion_grid", args=[version.pk])
    )


def _tell(admin_: ModelAdmin, request: HttpRequest, version: PriceVersion, count: int, *, reason: str, source: str = "") -> None:
    if not count:
        messages.info(request, f"Nenhum valor {source}é diferente do rascunho: nada mudou.")
        return
    told = f"{count} preço{'s' if count > 1 else ''} {source}no rascunho."
    admin_.log_change(request, version, f"Grade: {told}" + (f" Motivo: {reason.strip()[:200]}" if reason.strip() else ""))
    messages.success(request, f"{told} Nada muda para os clientes até publicar.")


def _show(
    admin_: ModelAdmin, request: HttpRequest, grid: Grid, *, problem: str = "", rejected: list[CellError] | None = None
) -> HttpResponse:
    changes, effect = grid.changes(), grid.effect()
    rows = grid.rows(changes, effect)
    pages = max(1, -(-len(rows) // LINES_SHOWN))
    asked = request.GET.get("pagina", "1")
    page = min(max(int(asked) if asked.isdecimal() and len(asked) < 5 else 1, 1), pages)
    shown = rows[(page - 1) * LINES_SHOWN : page * LINES_SHOWN]
    counted = [sum(change.kind == kind for change in changes.values()) for kind in ("new", "up", "down", "gone")]
    context = {
        **admin_.admin_site.each_context(request), "title": f"Preços em grade: {grid.version}", "opts": admin_.opts,
        "version": grid.version, "current": grid.current, "rows": shown, "found": len(rows), "total": len(grid.saved),
        "page": page, "pages": range(1, pages + 1), "problem": problem,
        "errors": [error for error in grid.reading.errors if not rejected], "rejected": (rejected or [])[: price_files.ERRORS_MAX],
        "rejected_more": max(0, len(rejected or []) - price_files.ERRORS_MAX), "unsaved": len(grid.reading.changed),
        "counts": list(zip(("novos", "subiram", "caíram", "sumiram"), counted, strict=True)), "effect": effect,
        "stopping": sum(row.margin.is_stopping for row in rows), "effect_days": price_effects.DAYS,
        "notice_days": settings.PRICE_NOTICE_DAYS, "least_margin": settings.PRICE_MARGIN_MIN_PERCENT,
        "has_dearer": counted[1] + counted[3],
        "providers": sorted({price.provider_name for price in grid.saved if price.provider_name}), "query": request.GET,
        "sim_route": request.POST.get("sim-route") or (shown[0].price.route_name if shown else ""),
        "routes": sorted({price.route_name for price in grid.saved}), "simulated": grid.simulate(), "form": request.POST,
        "quantities": [(name, label, request.POST.get(f"sim-{name}", "")) for name, label in SIMULATED],
        "reason": grid.reason, "digest": request.POST.get("digest") or price_margins.digest_of(grid.saved),
        "asked": PriceApproval.objects.filter(version=grid.version, status=PriceApproval.Status.ASKED).first(),
        "back": change_url(grid.version),
    }  # fmt: skip
    return render(request, "admin/billing/price_grid.html", context)
