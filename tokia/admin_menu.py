"""The admin's menu: groups by what a person does, in their words. What nobody placed stands at the end, so that no page is lost."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

# (title, address or "app.model", icon). A model's page is shown to whoever may look at its rows.
HOME = ("Início", "/admin/", "home", "")
PLACES: tuple[tuple[str, tuple[tuple[str, str, str, str], ...]], ...] = (
    ("", (HOME, ("Saúde do sistema", "/admin/saude/", "monitor_heart", "gateway.view_provider"))),
    ("Clientes", (
        ("Empresas", "accounts.organization", "apartment", ""),
        ("Pessoas", "accounts.user", "person", ""),
        ("Chaves de API", "accounts.apikey", "key", ""),
        ("Requisições", "billing.usagerecord", "list_alt", ""),
        ("Perfis de limites", "accounts.limitprofile", "speed", ""),
        ("Auditoria", "accounts.auditevent", "policy", ""),
        ("Funções experimentais", "accounts.featureflag", "toggle_on", ""),
        ("Avisos a clientes", "billing.event", "notifications", ""),
    )),
    ("Dinheiro", (
        ("Carteiras", "billing.wallet", "account_balance_wallet", ""),
        ("Cobranças PIX", "billing.charge", "qr_code", ""),
        ("PIX não identificados", "billing.unmatchedpix", "help_center", ""),
        ("Recargas com cartão", "billing.cardpayment", "credit_card", ""),
        ("Devoluções", "billing.refund", "undo", ""),
        ("Contestações", "billing.dispute", "gavel", ""),
        ("Lançamentos", "billing.ledgerentry", "menu_book", ""),
        ("Diferenças", "billing.difference", "difference", ""),
        ("Conciliações", "billing.reconciliationrun", "compare_arrows", ""),
        ("Margem", "/admin/billing/usageday/margem/", "trending_up", "billing.change_usageday"),
    )),
    ("Preços", (
        ("Versões de preços", "billing.priceversion", "sell", ""),
        ("Aprovações", "billing.priceapproval", "approval", ""),
        ("Custos dos provedores", "billing.providercost", "payments", ""),
        ("Câmbio", "billing.exchangerate", "currency_exchange", ""),
        ("Câmbio e encargos", "billing.comparisonparameter", "calculate", ""),
        ("Alarmes de câmbio", "billing.ratealarm", "alarm", ""),
        ("Planos de volume", "billing.volumeplan", "stairs", ""),
        ("Contratos de volume", "billing.contract", "contract", ""),
        ("Cupons", "billing.coupon", "confirmation_number", ""),
        ("Promoções", "billing.promotionrules", "redeem", ""),
    )),
    ("Modelos e provedores", (
        ("Provedores", "gateway.provider", "cloud", ""),
        ("Credenciais", "gateway.credential", "vpn_key", ""),
        ("Modelos", "gateway.route", "smart_toy", ""),
        ("Rotas", "gateway.deployment", "route", ""),
        ("Regras de roteamento", "gateway.routingrule", "alt_route", ""),
        ("Experimentos", "gateway.experiment", "science", ""),
        ("Incidentes", "gateway.incident", "warning", ""),
    )),
    ("Notas fiscais", (
        ("Notas", "invoices.invoice", "receipt_long", ""),
        ("Emitentes", "invoices.issuer", "store", ""),
        ("Certificados", "invoices.certificate", "verified_user", ""),
        ("Regras fiscais", "invoices.taxterms", "rule", ""),
        ("O que se fatura", "invoices.invoicepolicy", "description", ""),
        ("Municípios", "invoices.cityterms", "location_city", ""),
    )),
)  # fmt: skip
OTHERS = "Outras listas"


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """unfold's SIDEBAR.navigation: only what this person may open."""
    registered = {model._meta.label_lower: (model, site_admin) for model, site_admin in admin.site._registry.items()}
    placed: set[str] = set()
    groups = []
    for title, places in PLACES:
        items = []
        for label, where, icon, permission in places:
            if where.startswith("/"):
                if not permission or request.user.has_perm(permission):
                    items.append({"title": label, "link": where, "icon": icon})
                continue
            placed.add(where)
            if where in registered and registered[where][1].has_view_permission(request):
                items.append({"title": label, "link": _address(where), "icon": icon})
        groups.append({"title": title, "separator": bool(title), "collapsible": bool(title), "items": items})
    rest = [
        {"title": _title(model), "link": _address(name), "icon": "table_rows"}
        for name, (model, site_admin) in registered.items()
        if name not in placed and site_admin.has_view_permission(request)
    ]
    rest.sort(key=lambda item: item["title"])
    return [*groups, {"title": OTHERS, "separator": True, "collapsible": True, "items": rest}]


def _title(model: Any) -> str:
    name = str(model._meta.verbose_name_plural)
    return name[:1].upper() + name[1:]


def _address(name: str) -> str:
    return f"/admin/{name.replace('.', '/')}/"
