"""An event in words: for the mail, the overview and the history. Payloads come from many rooms: what is missing is left out.

The sentences are whole, with room for parts that may be empty: `{of}` is " de R$ 18,40", `{by}` " por PIX", `{why}` " Motivo: …."
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, gettext_noop

from billing.figures import tell_brl, tell_day
from billing.kept_texts import tell_kept
from billing.models import Budget, Event
from billing.money import from_brl

Payload = dict[str, Any]
TOP_UP = (gettext_noop("Recarregar"), "/app/recarregar/")
AUTO_TOP_UP = (gettext_noop("Ver a recarga automática"), "/app/recarregar/automatica/")
STATEMENT = (gettext_noop("Ver o extrato"), "/app/extrato/")
BUDGETS = (gettext_noop("Ver orçamentos"), "/app/orcamentos/")
USAGE = (gettext_noop("Ver o uso"), "/app/uso/")
INVOICES = (gettext_noop("Ver as notas"), "/app/notas/")


@dataclass(frozen=True, slots=True)
class EventText:
    """`title` is a mail's subject, too; `url` is a path of ours."""

    title: str
    text: str
    action: str = ""
    url: str = ""


def _text(title: str, text: str, way: tuple[str, str]) -> EventText:
    """`way`: the words of the link, not told yet, and where it leads."""
    return EventText(title, text, gettext(way[0]), way[1])


def tell_event(event: Event) -> EventText:
    """Never raises: an event that nobody has words for is told by its type."""
    words = _WORDS.get(event.type)
    payload = event.payload if isinstance(event.payload, dict) else {}
    return words(payload) if words else EventText(event.type, "")


@dataclass(frozen=True, slots=True)
class Told:
    """An event with its words, as lists show it."""

    event: Event
    words: EventText


def tell_all(events: Iterable[Event]) -> list[Told]:
    return [Told(event, tell_event(event)) for event in events]


def label_of(type: str) -> str:
    """An event's type in a list of types."""
    return gettext(LABELS[type]) if type in LABELS else type


LABELS: dict[str, str] = {
    "wallet.low_balance": gettext_noop("Saldo baixo"),
    "wallet.empty": gettext_noop("Saldo zerado"),
    "wallet.top_up": gettext_noop("Recarga confirmada"),
    "auto_top_up.done": gettext_noop("Recarga automática feita"),
    "auto_top_up.failed": gettext_noop("Recarga automática recusada"),
    "auto_top_up.capped": gettext_noop("Recarga automática no limite"),
    "auto_top_up.off": gettext_noop("Recarga automática desligada"),
    "budget.threshold": gettext_noop("Orçamento perto do limite"),
    "budget.exceeded": gettext_noop("Orçamento esgotado"),
    "usage.unusual": gettext_noop("Gasto fora do comum"),
    "refund.done": gettext_noop("Devolução concluída"),
    "refund.refused": gettext_noop("Devolução recusada"),
    "dispute.opened": gettext_noop("Contestação aberta"),
    "dispute.closed": gettext_noop("Contestação encerrada"),
    "credit.granted": gettext_noop("Crédito promocional concedido"),
    "credit.expiring": gettext_noop("Crédito promocional perto de expirar"),
    "prices.changed": gettext_noop("Mudança de preços"),
    "volume.month_closed": gettext_noop("Mês fechado do desconto por volume"),
    "organization.suspended": gettext_noop("Conta suspensa"),
    "hook.disabled": gettext_noop("Webhook desligado"),
    "invoice.issued": gettext_noop("Nota fiscal emitida"),
    "invoice.cancelled": gettext_noop("Nota fiscal cancelada"),
    "invoice.needs_data": gettext_noop("Falta um dado para a nota fiscal"),
    "ping": gettext_noop("Teste"),
}


# ── Parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _money(payload: Payload, name: str) -> str:
    """`R$ 18,40`, or nothing where the payload has no such amount."""
    try:
        return tell_brl(from_brl(str(payload[name])))
    except (KeyError, ValueError):
        return ""


def _day(payload: Payload, name: str) -> str:
    try:
        return tell_day(dt.date.fromisoformat(str(payload[name])[:10]))
    except (KeyError, ValueError):
        return ""


def _of(amount: str) -> str:
    return gettext(" de {amount}").format(amount=amount) if amount else ""


def _beside(amount: str) -> str:
    return f" ({amount})" if amount else ""


def _because(payload: Payload) -> str:
    reason = tell_kept(str(payload.get("reason") or "").strip()).rstrip(".")
    return gettext(" Motivo: {reason}.").format(reason=reason) if reason else ""


def _by(payload: Payload) -> str:
    return {"pix": gettext(" por PIX"), "card": gettext(" no cartão")}.get(str(payload.get("paid_by")), "")


_BUDGETS = {
    "day": gettext_noop("orçamento do dia"),
    "week": gettext_noop("orçamento da semana"),
    "month": gettext_noop("orçamento do mês"),
}


def _budget_name(payload: Payload) -> str:
    """ "orçamento do mês (projeto “Suporte”)"."""
    scope, subject = str(payload.get("scope", "")), str(payload.get("subject") or "")
    name = gettext(_BUDGETS.get(str(payload.get("window")), gettext_noop("orçamento")))
    if scope not in Budget.Scope.values:
        return name
    whose = str(Budget.Scope(scope).label).lower()
    return f"{name} ({f'{whose} “{subject}”' if subject else whose})"


# ── Words ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _low_balance(payload: Payload) -> EventText:
    available, threshold = _money(payload, "available"), _money(payload, "threshold")
    text = gettext("O saldo está em {amount}").format(amount=available) if available else gettext("O saldo está baixo")
    text += (
        gettext(", abaixo dos {threshold} em que você pediu para ser avisado.").format(threshold=threshold) if threshold else "."
    )
    text += gettext(" Sem saldo, as chamadas são recusadas.")
    return _text(gettext("saldo baixo{beside}").format(beside=_beside(available)), text, TOP_UP)


def _empty(_: Payload) -> EventText:
    text = gettext("As chamadas estão sendo recusadas com 402 até a próxima recarga.")
    return _text(gettext("seu saldo acabou"), text, TOP_UP)


def _top_up(payload: Payload) -> EventText:
    of = _of(_money(payload, "amount"))
    text = gettext("Recebemos a sua recarga{of}{by}. O saldo já está disponível.").format(of=of, by=_by(payload))
    return _text(gettext("recarga{of} confirmada").format(of=of), text, STATEMENT)


def _auto_done(payload: Payload) -> EventText:
    of, card = _of(_money(payload, "amount")), str(payload.get("card") or "")
    by = gettext(" com {card}").format(card=card) if card else ""
    text = gettext("O saldo ficou baixo e a recarga automática{of} foi paga{by}. Não quer mais? Desligue com um clique.")
    title = gettext("recarga automática{of} confirmada").format(of=of)
    way = (gettext_noop("Desligar a recarga automática"), str(payload.get("off_path") or ""))
    return _text(title, text.format(of=of, by=by), way)


def _auto_failed(payload: Payload) -> EventText:
    text = gettext("A recarga automática{of} não passou.{why} Nada foi cobrado.")
    text = text.format(of=_of(_money(payload, "amount")), why=_because(payload))
    if path := str(payload.get("confirm_path") or ""):
        text += gettext(" Confirme em até 24 horas.")
        return _text(gettext("confirme a recarga automática"), text, (gettext_noop("Confirmar o pagamento"), path))
    return _text(gettext("recarga automática recusada"), text + gettext(" Recarregue, ou confira o cartão."), AUTO_TOP_UP)


def _auto_off(payload: Payload) -> EventText:
    text = gettext("A recarga automática foi desligada.{why} O saldo não se recompõe mais sozinho.").format(why=_because(payload))
    return _text(gettext("recarga automática desligada"), text, AUTO_TOP_UP)


def _auto_capped(payload: Payload) -> EventText:
    text = {
        "day": gettext("O saldo está baixo, mas a recarga automática chegou ao máximo por dia{beside}."),
        "month": gettext("O saldo está baixo, mas a recarga automática chegou ao máximo por mês{beside}."),
    }.get(str(payload.get("cap")), gettext("O saldo está baixo, mas a recarga automática chegou ao máximo{beside}."))
    text = text.format(beside=_beside(_money(payload, "limit"))) + gettext(" Recarregue você, ou aumente o máximo.")
    return _text(gettext("recarga automática no limite"), text, AUTO_TOP_UP)


def _budget(payload: Payload) -> EventText:
    name, percent = _budget_name(payload), payload.get("percent") or 80
    spent, limit = _money(payload, "spent"), _money(payload, "limit")
    figures = gettext(": {spent} de {limit}").format(spent=spent, limit=limit) if spent and limit else ""
    text = gettext("O {budget} chegou a {percent}%{figures}.").format(budget=name, percent=percent, figures=figures)
    if payload.get("is_hard"):
        text += gettext(" No limite, as chamadas que ele cobre passam a ser recusadas com 403.")
    return _text(gettext("{budget} chegou a {percent}%").format(budget=name, percent=percent), text, BUDGETS)


def _budget_over(payload: Payload) -> EventText:
    name, limit = _budget_name(payload), _money(payload, "limit")
    figures = gettext(": {limit} gastos").format(limit=limit) if limit else ""
    text = gettext("O {budget} acabou{figures}.").format(budget=name, figures=figures)
    text += gettext(" As chamadas que ele cobre são recusadas com 403 até o próximo período começar ou o limite subir.")
    return _text(gettext("{budget} acabou").format(budget=name), text, BUDGETS)


def _unusual(payload: Payload) -> EventText:
    spent, usual, day = _money(payload, "spent"), _money(payload, "usual"), _day(payload, "day")
    text = gettext("Em {date} o gasto passou de {amount}") if day else gettext("Hoje o gasto passou de {amount}")
    text = text.format(date=day, amount=spent or gettext("três vezes o comum"))
    text += gettext("; um dia comum fica em torno de {amount}.").format(amount=usual) if usual else "."
    text += gettext(" Se não esperava por isso, veja quais chaves estão gastando e revogue a que vazou.")
    title = gettext("gasto fora do comum ({amount} em um dia)").format(amount=spent) if spent else gettext("gasto fora do comum")
    return _text(title, text, USAGE)


def _refund_done(payload: Payload) -> EventText:
    amount = _money(payload, "amount")
    text = gettext("Devolvemos{amount}{by} à origem do pagamento.").format(amount=f" {amount}" if amount else "", by=_by(payload))
    return _text(gettext("devolução{of} concluída").format(of=_of(amount)), text, STATEMENT)


def _refund_refused(payload: Payload) -> EventText:
    text = gettext("A devolução{of} não foi feita.{why} O valor continua no seu saldo.")
    text = text.format(of=_of(_money(payload, "amount")), why=_because(payload))
    return _text(gettext("devolução não concluída"), text, STATEMENT)


def _dispute_opened(payload: Payload) -> EventText:
    of = _of(_money(payload, "amount"))
    text = gettext("O titular contestou um pagamento{of}{by} junto ao banco. O valor fica bloqueado até a decisão.")
    return _text(gettext("contestação{of} aberta").format(of=of), text.format(of=of, by=_by(payload)), STATEMENT)


def _dispute_closed(payload: Payload) -> EventText:
    of = _of(_money(payload, "amount"))
    text = {
        "won": gettext("A contestação{of} terminou a seu favor: o valor voltou ao saldo."),
        "lost": gettext("A contestação{of} terminou: o valor foi devolvido a quem contestou."),
    }.get(str(payload.get("status")), gettext("A contestação{of} terminou."))
    return _text(gettext("contestação{of} encerrada").format(of=of), text.format(of=of), STATEMENT)


def _credit_granted(payload: Payload) -> EventText:
    amount, until = _money(payload, "amount"), _day(payload, "expires_at")
    text = gettext("Você ganhou crédito promocional{until}.")
    text = gettext("Você ganhou {amount} em crédito promocional{until}.") if amount else text
    text = text.format(amount=amount, until=gettext(", para usar até {date}").format(date=until) if until else "")
    text += f"{_because(payload)}{gettext(' Ele é gasto antes do saldo pago.')}"
    return _text(gettext("crédito promocional{of}").format(of=_of(amount)), text, STATEMENT)


def _credit_expiring(payload: Payload) -> EventText:
    of, until = _of(_money(payload, "amount")), _day(payload, "expires_at")
    text = gettext("Seu crédito promocional{of} expira em breve.")
    text = gettext("Seu crédito promocional{of} expira em {date}.") if until else text
    text = text.format(of=of, date=until) + gettext(" O que sobrar deixa o saldo.")
    return _text(gettext("crédito promocional{of} perto de expirar").format(of=of), text, STATEMENT)


def _prices(payload: Payload) -> EventText:
    since, routes = _day(payload, "effective_at"), payload.get("routes")
    names = [str(name.get("name", name.get("route", ""))) if isinstance(name, dict) else str(name) for name in routes or []]
    names = list(dict.fromkeys(names))  # a route comes once for each of its units
    shown = ", ".join(names[:5]) + (gettext(" e mais {count}").format(count=len(names) - 5) if len(names) > 5 else "")
    text = gettext("A partir de {date}, mudam os preços{of}.") if since else gettext("Mudam os preços{of}.")
    title = gettext("mudança de preços em {date}").format(date=since) if since else gettext("mudança de preços")
    of = gettext(" de {names}").format(names=shown) if shown else ""
    return _text(title, text.format(date=since, of=of), (gettext_noop("Ver preços"), "/precos/"))


def _month_closed(payload: Payload) -> EventText:
    saved, net, (year, _, number) = _money(payload, "saved"), _money(payload, "net"), str(payload.get("month", "")).partition("-")
    month = f"{number}/{year}" if number else gettext("O mês")
    text = gettext("{month} fechou em {amount}") if net else gettext("{month} fechou")
    text = text.format(month=month, amount=net)
    has_saved = saved and saved != tell_brl(0)
    text += gettext(", com {amount} de economia pelo desconto por volume.").format(amount=saved) if has_saved else "."
    title = gettext("{month} fechado: economia de {amount}") if saved else gettext("{month} fechado")
    way = (gettext_noop("Ver o desconto"), "/app/desconto/")
    return _text(title.format(month=month, amount=saved), text, way)


def _suspended(payload: Payload) -> EventText:
    text = gettext("A conta foi suspensa e as chamadas estão sendo recusadas.{why} O saldo continua seu.")
    text = text.format(why=_because(payload)) + gettext(" Fale com o suporte para resolver.")
    return _text(gettext("conta suspensa"), text, (gettext_noop("Abrir o painel"), "/app/"))


def _hook_disabled(payload: Payload) -> EventText:
    name = str(payload.get("name") or payload.get("url") or "")
    reason = tell_kept(str(payload.get("reason", gettext_noop("ele não responde"))))
    text = gettext("Desligamos o webhook {name}: {reason}. Os avisos não chegam mais a esse endereço.")
    text = text.format(name=name, reason=reason)
    text += gettext(" Corrija o endereço e ligue-o de novo; dá para reenviar o que faltou.")
    return _text(gettext("webhook desligado"), text, (gettext_noop("Ver webhooks"), "/app/webhooks/"))


def _invoice(payload: Payload) -> dict[str, str]:
    number = payload.get("number")
    return {"number": f" {number}" if number else "", "of": _of(_money(payload, "amount"))}


def _invoice_issued(payload: Payload) -> EventText:
    text = gettext("A nota fiscal{number}{of} foi emitida.").format(**_invoice(payload))
    return _text(gettext("nota fiscal emitida"), text, INVOICES)


def _invoice_cancelled(payload: Payload) -> EventText:
    text = gettext("A nota fiscal{number}{of} foi cancelada.").format(**_invoice(payload))
    return _text(gettext("nota fiscal cancelada"), text, INVOICES)


def _invoice_needs_data(payload: Payload) -> EventText:
    problem = tell_kept(str(payload.get("problem") or ""))
    text = gettext("A nota fiscal{number}{of} espera por um dado seu").format(**_invoice(payload))
    text += f": {problem}" if problem else "."
    way = (gettext_noop("Corrigir os dados"), "/app/configuracoes/empresa/")
    return _text(gettext("falta um dado para a sua nota fiscal"), text, way)


_WORDS: dict[str, Callable[[Payload], EventText]] = {
    "wallet.low_balance": _low_balance,
    "wallet.empty": _empty,
    "wallet.top_up": _top_up,
    "auto_top_up.done": _auto_done,
    "auto_top_up.failed": _auto_failed,
    "auto_top_up.capped": _auto_capped,
    "auto_top_up.off": _auto_off,
    "budget.threshold": _budget,
    "budget.exceeded": _budget_over,
    "usage.unusual": _unusual,
    "refund.done": _refund_done,
    "refund.refused": _refund_refused,
    "dispute.opened": _dispute_opened,
    "dispute.closed": _dispute_closed,
    "credit.granted": _credit_granted,
    "credit.expiring": _credit_expiring,
    "prices.changed": _prices,
    "volume.month_closed": _month_closed,
    "organization.suspended": _suspended,
    "hook.disabled": _hook_disabled,
    "invoice.issued": _invoice_issued,
    "invoice.cancelled": _invoice_cancelled,
    "invoice.needs_data": _invoice_needs_data,
}
