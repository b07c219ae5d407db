"""The admin's first page: what needs a person, then the figures. Each part only for whoever may open what it tells of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.templatetags.static import static

from billing.event_texts import label_of
from billing.margins import MarginLine
from tokia import attention, platform_figures
from tokia.templatetags.tokia import brl, compacto, num, pct

GOOD, BAD, PLAIN = "good", "bad", ""
BARS_HEIGHT = 120  # of the chart, in units of its own


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure. `mood` colours it; `hint` says the same in words."""

    label: str
    value: str
    hint: str
    url: str
    mood: str = PLAIN


@dataclass(frozen=True, slots=True)
class Bar:
    """A line of a table with a bar: `share` is a percentage of the longest, for the bar alone."""

    label: str
    url: str
    net: str
    cost: str
    margin: str
    percent: str
    share: int
    is_loss: bool


def environment(request: HttpRequest) -> list[str]:
    return ["PRODUÇÃO", "danger"] if settings.IS_PRODUCTION else ["Demonstração", "warning"]


def stylesheet(request: HttpRequest) -> str:
    return static("tokia/admin.css")


def badges(request: HttpRequest) -> dict[str, Any]:
    """What waits for a person, on top of every page of the admin: each for who may look at it."""
    if not request.user.is_active or not getattr(request.user, "is_staff", False):
        return {}
    waiting = attention.waiting_for(request.user)
    return {"attention": [{"text": item.text, "url": item.question.url} for item in waiting], "waiting": waiting}


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """unfold's DASHBOARD_CALLBACK."""
    may = request.user.has_perm
    context |= {"tiles": _tiles(request), "title": "Início"}
    if may("billing.view_usageday"):
        days = platform_figures.earned().days
        context |= {
            "by_provider": _bars(platform_figures.by_provider()),
            "by_organization": _bars(platform_figures.by_organization()),
            "days": _columns(days),
            "day_lines": _bars(list(reversed(days))),
            "bars_height": BARS_HEIGHT,
        }
    if may("billing.view_event"):
        context["alerts"] = [{"alert": alert, "label": label_of(alert.type)} for alert in platform_figures.alerts()]
    return context


# ── Tiles ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _tiles(request: HttpRequest) -> list[Tile]:
    may = request.user.has_perm
    tiles: list[Tile] = []
    if may("billing.view_wallet"):
        tiles += _money_tiles()
    if may("billing.view_usageday"):
        tiles += _earned_tiles()
    if may("gateway.view_provider"):
        pace = platform_figures.pace()
        failed = "ninguém pediu nada" if pace.failed_bps is None else f"{pct(pace.failed_bps)} falharam"
        mood = BAD if (pace.failed_bps or 0) > 500 else PLAIN
        tiles.append(Tile("Pedidos a provedores por minuto", num(pace.per_minute), f"últimos 5 min: {failed}",
                          "/admin/gateway/provider/", mood))  # fmt: skip
    if may("invoices.view_invoice"):
        notes = platform_figures.notes()
        tiles.append(Tile("Notas na fila", num(notes.pending), f"{num(notes.rejected)} rejeitadas",
                          "/admin/invoices/invoice/?status__exact=rejected" if notes.rejected else "/admin/invoices/invoice/",
                          BAD if notes.rejected else PLAIN))  # fmt: skip
    if may("billing.view_unmatchedpix"):
        found = platform_figures.reconciled()
        tiles.append(Tile("PIX sem dono", num(found.unmatched), f"{brl(found.unmatched_nanos)} esperam",
                          "/admin/billing/unmatchedpix/?status__exact=open", BAD if found.unmatched else PLAIN))  # fmt: skip
    if may("billing.view_difference"):
        tiles.append(_difference_tile())
    return tiles


def _money_tiles() -> list[Tile]:
    money = platform_figures.money()
    owed = f"mais {brl(money.promo_nanos)} em bônus; {num(money.wallets)} {'carteira' if money.wallets == 1 else 'carteiras'}"
    if money.owed_by_customers_nanos:
        owed += f"; {brl(money.owed_by_customers_nanos)} a receber"
    count = f"{num(money.top_ups_today)} {'recarga' if money.top_ups_today == 1 else 'recargas'}"
    return [
        Tile("Saldo dos clientes (devemos)", brl(money.owed_to_customers_nanos), owed, "/admin/billing/wallet/"),
        Tile("Recargas hoje", brl(money.top_ups_today_nanos), count, "/admin/billing/lot/?kind__exact=paid"),
    ]


def _tell_calls(count: int) -> str:
    return f"{compacto(count)} {'requisição' if count == 1 else 'requisições'}"


def _earned_tiles() -> list[Tile]:
    earned = platform_figures.earned()
    url = "/admin/billing/usageday/margem/"
    failed = "" if earned.failed_today_bps is None else f"; {pct(earned.failed_today_bps)} com erro"
    return [
        Tile("Receita hoje", brl(earned.today.net_nanos), f"{_tell_calls(earned.today.calls)}{failed}", url),
        Tile("Margem hoje", brl(earned.today.margin_nanos), _margin_hint(earned.today), url, _mood(earned.today)),
        Tile("Receita em 30 dias", brl(earned.month.net_nanos), _tell_calls(earned.month.calls), url),
        Tile("Margem em 30 dias", brl(earned.month.margin_nanos), _margin_hint(earned.month), url, _mood(earned.month)),
    ]


def _margin_hint(line: MarginLine) -> str:
    part = f"{pct(line.margin_bps)} da receita; " if line.margin_bps is not None else ""
    return f"{part}custo {brl(line.cost_nanos)}"


def _mood(line: MarginLine) -> str:
    return BAD if line.margin_nanos < 0 else PLAIN


def _difference_tile() -> Tile:
    found = platform_figures.reconciled()
    url = "/admin/billing/difference/?status__exact=open"
    if not found.differences:
        return Tile("Diferença da conciliação", brl(0), "os dois lados concordam", url, GOOD)
    count = f"{num(found.differences)} {'diferença' if found.differences == 1 else 'diferenças'} em aberto"
    return Tile("Diferença da conciliação", brl(found.gap_nanos), count, url, BAD)


# ── Charts, each of them a table too ─────────────────────────────────────────────────────────────────────────────────
def _bars(lines: list[MarginLine]) -> list[Bar]:
    longest = max((line.net_nanos for line in lines), default=0)
    return [
        Bar(
            label=line.label,
            url=f"/admin/empresas/{line.key}/" if isinstance(line.key, int) else "",
            net=brl(line.net_nanos),
            cost=brl(line.cost_nanos),
            margin=brl(line.margin_nanos),
            percent=pct(line.margin_bps) if line.margin_bps is not None else "—",
            share=max(1, line.net_nanos * 100 // longest) if longest and line.net_nanos > 0 else 0,
            is_loss=line.margin_nanos < 0,
        )
        for line in lines
    ]


def _columns(days: tuple[MarginLine, ...]) -> list[dict[str, object]]:
    """Columns of revenue by day, for an SVG of `BARS_HEIGHT`."""
    highest = max((line.net_nanos for line in days), default=0)
    columns = []
    for place, line in enumerate(days):
        height = max(1, line.net_nanos * BARS_HEIGHT // highest) if highest and line.net_nanos > 0 else 0
        title = f"{line.label}: receita {brl(line.net_nanos)}, margem {brl(line.margin_nanos)}"
        columns.append({"x": place * 20, "y": BARS_HEIGHT - height, "height": height, "title": title, "day": line.label[:5]})
    return columns
