"""What every page knows: the menu by role, the organization at work, its balance, and the one banner on top."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import is_valid_path
from django.utils import dateformat
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import flags
from accounts.models import Membership, Organization
from accounts.roles import may
from billing import spending
from billing.alerts import threshold_of
from billing.kept_texts import tell_kept
from billing.models import Wallet
from billing.promotions import Ending, next_to_end
from invoices.top_up_notes import policy_at, waits_for_data
from tokia import clock, overview, showcase
from tokia.language import is_english
from tokia.status_report import open_incident, read_report
from tokia.templatetags.tokia import saldo, tax_id


@dataclass(frozen=True, slots=True)
class Item:
    key: str
    label: str | Promise
    icon: str
    url: str
    permission: str
    flag: str = ""  # of `accounts.flags`


@dataclass(frozen=True, slots=True)
class Group:
    label: str | Promise  # empty: the first needs none
    items: tuple[Item, ...]


MENU: tuple[Group, ...] = (
    Group("", (
        Item("painel", _("Painel"), "layout-dashboard", "/app/", "usage.read"),
        Item("playground", "Playground", "terminal", "/app/playground/", "keys.manage", flag="playground"),
        Item("modelos", _("Modelos"), "boxes", "/modelos/", "usage.read"),
    )),
    Group(_("Construir"), (
        Item("chaves", _("Chaves"), "key-round", "/app/chaves/", "keys.manage"),
        Item("projetos", _("Projetos"), "box", "/app/projetos/", "usage.read"),
        Item("chaves-de-provedores", _("Chaves de provedores"), "plug", "/app/chaves-de-provedores/", "own_keys.read"),
        Item("experimentos", _("Experimentos"), "layers", "/app/experimentos/", "usage.read"),
        Item("webhooks", "Webhooks", "send", "/app/webhooks/", "hooks.manage"),
    )),
    Group(_("Acompanhar"), (
        Item("uso", _("Uso"), "chart-column", "/app/uso/", "usage.read"),
        Item("requisicoes", _("Requisições"), "list", "/app/requisicoes/", "usage.read"),
        Item("orcamentos", _("Orçamentos"), "gauge", "/app/orcamentos/", "usage.read"),
        Item("avisos", _("Avisos"), "circle-alert", "/app/avisos/", "usage.read"),
    )),
    Group(_("Dinheiro"), (
        Item("recarregar", _("Recarregar"), "qr-code", "/app/recarregar/", "billing.top_up"),
        Item("extrato", _("Extrato"), "receipt-text", "/app/extrato/", "billing.statement"),
        Item("notas", _("Notas fiscais"), "file-text", "/app/notas/", "billing.statement"),
        Item("desconto", _("Desconto por volume"), "trending-up", "/app/desconto/", "usage.read"),
    )),
    Group(_("Conta"), (
        Item("equipe", _("Equipe"), "users", "/app/equipe/", "team.manage"),
        Item("configuracoes", _("Configurações"), "settings", "/app/configuracoes/empresa/", "organization.fiscal"),
    )),
)  # fmt: skip
TOP_UP_URL = "/app/recarregar/"


@dataclass(frozen=True, slots=True)
class Banner:
    text: str
    icon: str
    classes: str
    url: str = ""
    action: str = ""
    is_urgent: bool = False


@cache
def _is_served(url: str) -> bool:
    """A page that has not landed yet is not in the menu."""
    return bool(is_valid_path(url))


def _is_open(item: Item, membership: Membership) -> bool:
    if not may(membership, item.permission) or not _is_served(item.url):
        return False
    return not item.flag or flags.is_on(item.flag, organization=membership.organization)


def menu_for(membership: Membership | None) -> list[Group]:
    """The menu without what the role can't open; empty for people without an organization."""
    if membership is None:
        return []
    groups = [Group(group.label, tuple(item for item in group.items if _is_open(item, membership))) for group in MENU]
    return [group for group in groups if group.items]


@dataclass(frozen=True, slots=True)
class Help:
    label: str
    icon: str
    url: str

    @property
    def is_outside(self) -> bool:
        return not self.url.startswith("/")


def help_links() -> list[Help]:
    """The help menu; a way of support that is not set up is left out."""
    links = [Help(gettext("Documentação"), "book-open", "/docs/")] if _is_served("/docs/") else []
    links.append(Help(gettext("Status dos sistemas"), "activity", "/status/"))
    if settings.SUPPORT_WHATSAPP:
        links.append(Help("WhatsApp", "message-circle", f"https://wa.me/{settings.SUPPORT_WHATSAPP}"))
    if settings.SUPPORT_EMAIL:
        links.append(Help(gettext("E-mail"), "mail", f"mailto:{settings.SUPPORT_EMAIL}"))
    return links


def banner_for(membership: Membership, wallet: Wallet | None) -> Banner | None:
    """The first that applies, in UX's order of weight."""
    organization = membership.organization
    url = TOP_UP_URL if may(membership, "billing.top_up") else ""
    urgent = "bg-error/10 text-error"
    if organization.is_suspended:
        text = gettext("Conta suspensa: as chamadas estão recusando.")
        if organization.suspended_reason:
            text += " " + gettext("Motivo: {reason}.").format(reason=tell_kept(organization.suspended_reason))
        return Banner(text, "triangle-alert", urgent, is_urgent=True)
    if wallet is not None and (wallet.paid_used_nanos or wallet.promo_used_nanos):
        available = wallet.available_nanos
        if available <= 0:
            text = gettext("Seu saldo acabou e as chamadas estão recusando com 402.")
            return Banner(text, "triangle-alert", urgent, url, gettext("Recarregar"), is_urgent=True)
    if (incident := open_incident(read_report())) is not None:
        since = dt.datetime.fromisoformat(incident["starts_at"]).astimezone(clock.SAO_PAULO)
        when = dateformat.format(since, "j M H:i" if is_english() else "d/m H:i")
        text = gettext("{incident}, desde {when}.").format(incident=incident["title"], when=when)
        return Banner(text, "triangle-alert", "bg-warning/10 text-warning", "/status/", gettext("Ver o status"))
    has_used = wallet is not None and (wallet.paid_used_nanos or wallet.promo_used_nanos)
    if wallet is not None and has_used and wallet.available_nanos < threshold_of(wallet):
        left = overview.lasts(available_nanos=wallet.available_nanos)
        text = gettext("Saldo baixo: {balance}, cerca de {left} no ritmo atual.") if left else gettext("Saldo baixo: {balance}.")
        text = text.format(balance=saldo(wallet.available_nanos), left=left)
        return Banner(text, "triangle-alert", "bg-warning/10 text-warning", url, gettext("Recarregar") if url else "")
    if waits_for_data(organization):
        fiscal = "/app/configuracoes/empresa/" if may(membership, "organization.fiscal") else ""
        text = gettext("Complete os dados da empresa: uma nota fiscal espera por eles.")
        return Banner(text, "file-text", "bg-warning/10 text-warning", fiscal, gettext("Completar") if fiscal else "")
    if not organization.tax_id:
        fiscal = "/app/configuracoes/empresa/" if may(membership, "organization.fiscal") else ""
        text = gettext("Complete o CNPJ para receber a nota fiscal.")
        return Banner(text, "info", "bg-info/10 text-info", fiscal, gettext("Completar") if fiscal else "")
    if not settings.IS_PRODUCTION:
        return Banner(gettext("Demonstração: pagamentos e notas são simulados."), "info", "bg-base-200")
    return None


def wallet_seen(organization: Organization) -> Wallet | None:
    """The wallet as it stands; none before the organization's first business."""
    return Wallet.everywhere.filter(organization=organization).first()


def promo_ends(wallet: Wallet | None) -> Ending | None:
    """What of the promotional money ends first; asked only where there is some."""
    return next_to_end(wallet) if wallet is not None and wallet.promo_nanos else None


def page_context(request: HttpRequest) -> dict[str, Any]:
    """For every template; what asks the database is a function, called only where a page shows it."""
    membership: Membership | None = getattr(request, "membership", None)
    organization = membership.organization if membership else None
    context: dict[str, Any] = {
        "membership": membership,
        "organization": organization,
        "is_demo": not settings.IS_PRODUCTION,
        "sandbox_url": settings.SANDBOX_URL,
        "base_url": f"{settings.GATEWAY_URL}/v1",
        "receiver_name": settings.RECEIVER_NAME,
        "receiver_tax_id": tax_id(settings.RECEIVER_TAX_ID),
    }
    if membership is None or organization is None:
        return context

    wallet: Callable[[], Wallet | None] = cache(lambda: wallet_seen(organization))

    offers = cache(showcase.offers)

    def nanos(name: str) -> Callable[[], int]:
        def read() -> int:
            seen = wallet()
            return int(getattr(seen, name)) if seen else 0

        return read

    return context | {
        "menu": menu_for(membership),
        "help_links": cache(help_links),
        "memberships": cache(lambda: list(Membership.everywhere.filter(user=membership.user).select_related("organization"))),
        "available_nanos": nanos("available_nanos"),
        "held_nanos": nanos("held_nanos"),
        "promo_nanos": nanos("promo_nanos"),
        "promo_ends": cache(lambda: promo_ends(wallet())),
        "lasts": cache(lambda: overview.lasts(available_nanos=nanos("available_nanos")())),
        "top_up_url": TOP_UP_URL if may(membership, "billing.top_up") and _is_served(TOP_UP_URL) else "",
        "member_nanos": cache(spending.spent_by_member),
        "routes_on_sale": offers,
        "first_route": lambda: showcase.first_route(offers()),
        "top_up_policy": cache(lambda: policy_at(clock.today_in_brazil())),
        "banner": cache(lambda: banner_for(membership, wallet())),
    }
