"""An event in words: for the mail, the overview and the history. Payloads come from many rooms: what is missing is left out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from billing.budgets import tell_subject
from billing.models import Budget, Event
from billing.money import format_brl, from_brl

Payload = dict[str, Any]
TOP_UP = ("Recarregar", "/app/recarregar/")
AUTO_TOP_UP = ("Ver a recarga automática", "/app/recarregar/automatica/")
STATEMENT = ("Ver o extrato", "/app/extrato/")
BUDGETS = ("Ver orçamentos", "/app/orcamentos/")
USAGE = ("Ver o uso", "/app/uso/")
INVOICES = ("Ver as notas", "/app/notas/")


@dataclass(frozen=True, slots=True)
class EventText:
    """`title` is a mail's subject, too; `url` is a path of ours."""

    title: str
    text: str
    action: str = ""
    url: str = ""


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
    return LABELS.get(type, type)


LABELS: dict[str, str] = {
    "wallet.low_balance": "Saldo baixo",
    "wallet.empty": "Saldo zerado",
    "wallet.top_up": "Recarga confirmada",
    "auto_top_up.done": "Recarga automática feita",
    "auto_top_up.failed": "Recarga automática recusada",
    "auto_top_up.capped": "Recarga automática no limite",
    "auto_top_up.off": "Recarga automática desligada",
    "budget.threshold": "Orçamento perto do limite",
    "budget.exceeded": "Orçamento esgotado",
    "usage.unusual": "Gasto fora do comum",
    "refund.done": "Devolução concluída",
    "refund.refused": "Devolução recusada",
    "dispute.opened": "Contestação aberta",
    "dispute.closed": "Contestação encerrada",
    "credit.granted": "Crédito promocional concedido",
    "credit.expiring": "Crédito promocional perto de expirar",
    "prices.changed": "Mudança de preços",
    "volume.month_closed": "Mês fechado do desconto por volume",
    "organization.suspended": "Conta suspensa",
    "hook.disabled": "Webhook desligado",
    "invoice.issued": "Nota fiscal emitida",
    "invoice.cancelled": "Nota fiscal cancelada",
    "invoice.needs_data": "Falta um dado para a nota fiscal",
    "ping": "Teste",
}


# ── Parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _money(payload: Payload, name: str) -> str:
    """`R$ 18,40`, or nothing where the payload has no such amount."""
    try:
        return format_brl(from_brl(str(payload[name])))
    except (KeyError, ValueError):
        return ""


def _day(payload: Payload, name: str) -> str:
    try:
        return dt.date.fromisoformat(str(payload[name])[:10]).strftime("%d/%m/%Y")
    except (KeyError, ValueError):
        return ""


def _of(amount: str) -> str:
    return f" de {amount}" if amount else ""


def _because(payload: Payload, label: str = "Motivo") -> str:
    reason = str(payload.get("reason") or "").strip().rstrip(".")
    return f" {label}: {reason}." if reason else ""


def _by(payload: Payload) -> str:
    return {"pix": " por PIX", "card": " no cartão"}.get(str(payload.get("paid_by")), "")


_WINDOWS = {"day": "do dia", "week": "da semana", "month": "do mês"}


def _budget_name(payload: Payload) -> str:
    """ "orçamento do mês (projeto “Suporte”)"."""
    scope, subject = str(payload.get("scope", "")), str(payload.get("subject") or "")
    parts = ["orçamento", _WINDOWS.get(str(payload.get("window")), "")]
    parts.append(f"({tell_subject(scope, subject)})" if scope in Budget.Scope.values else "")
    return " ".join(part for part in parts if part)


# ── Words ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _low_balance(payload: Payload) -> EventText:
    available, threshold = _money(payload, "available"), _money(payload, "threshold")
    text = f"O saldo está em {available}" if available else "O saldo está baixo"
    text += f", abaixo dos {threshold} em que você pediu para ser avisado." if threshold else "."
    title = f"saldo baixo{f' ({available})' if available else ''}"
    return EventText(title, f"{text} Sem saldo, as chamadas são recusadas.", *TOP_UP)


def _empty(_: Payload) -> EventText:
    return EventText("seu saldo acabou", "As chamadas estão sendo recusadas com 402 até a próxima recarga.", *TOP_UP)


def _top_up(payload: Payload) -> EventText:
    amount = _money(payload, "amount")
    title = f"recarga{_of(amount)} confirmada"
    return EventText(title, f"Recebemos a sua recarga{_of(amount)}{_by(payload)}. O saldo já está disponível.", *STATEMENT)


def _auto_done(payload: Payload) -> EventText:
    amount, card = _money(payload, "amount"), str(payload.get("card") or "")
    text = f"O saldo ficou baixo e a recarga automática{_of(amount)} foi paga{f' com {card}' if card else ''}."
    title = f"recarga automática{_of(amount)} confirmada"
    return EventText(
        title, f"{text} Não quer mais? Desligue com um clique.", "Desligar a recarga automática", str(payload.get("off_path") or "")
    )


def _auto_failed(payload: Payload) -> EventText:
    text = f"A recarga automática{_of(_money(payload, 'amount'))} não passou.{_because(payload)} Nada foi cobrado."
    if path := str(payload.get("confirm_path") or ""):
        return EventText("confirme a recarga automática", f"{text} Confirme em até 24 horas.", "Confirmar o pagamento", path)
    return EventText("recarga automática recusada", f"{text} Recarregue, ou confira o cartão.", *AUTO_TOP_UP)


def _auto_off(payload: Payload) -> EventText:
    text = f"A recarga automática foi desligada.{_because(payload)} O saldo não se recompõe mais sozinho."
    return EventText("recarga automática desligada", text, *AUTO_TOP_UP)


def _auto_capped(payload: Payload) -> EventText:
    limit = _money(payload, "limit")
    window = {"day": "por dia", "month": "por mês"}.get(str(payload.get("cap")), "")
    text = f"O saldo está baixo, mas a recarga automática chegou ao máximo {window}{f' ({limit})' if limit else ''}."
    return EventText("recarga automática no limite", f"{text} Recarregue você, ou aumente o máximo.", *AUTO_TOP_UP)


def _budget(payload: Payload) -> EventText:
    name, percent = _budget_name(payload), payload.get("percent") or 80
    spent, limit = _money(payload, "spent"), _money(payload, "limit")
    text = f"O {name} chegou a {percent}%{f': {spent} de {limit}' if spent and limit else ''}."
    if payload.get("is_hard"):
        text += " No limite, as chamadas que ele cobre passam a ser recusadas com 403."
    return EventText(f"{name} chegou a {percent}%", text, *BUDGETS)


def _budget_over(payload: Payload) -> EventText:
    name, limit = _budget_name(payload), _money(payload, "limit")
    text = f"O {name} acabou{f': {limit} gastos' if limit else ''}. As chamadas que ele cobre são recusadas com 403"
    return EventText(f"{name} acabou", f"{text} até o próximo período começar ou o limite subir.", *BUDGETS)


def _unusual(payload: Payload) -> EventText:
    spent, usual, day = _money(payload, "spent"), _money(payload, "usual"), _day(payload, "day")
    text = f"{f'Em {day}' if day else 'Hoje'} o gasto passou de {spent or 'três vezes o comum'}"
    text += f"; um dia comum fica em torno de {usual}." if usual else "."
    text += " Se não esperava por isso, veja quais chaves estão gastando e revogue a que vazou."
    return EventText(f"gasto fora do comum{f' ({spent} em um dia)' if spent else ''}", text, *USAGE)


def _refund_done(payload: Payload) -> EventText:
    amount = _money(payload, "amount")
    text = f"Devolvemos{_of(amount).replace(' de', '')}{_by(payload)} à origem do pagamento."
    return EventText(f"devolução{_of(amount)} concluída", text, *STATEMENT)


def _refund_refused(payload: Payload) -> EventText:
    text = f"A devolução{_of(_money(payload, 'amount'))} não foi feita.{_because(payload)} O valor continua no seu saldo."
    return EventText("devolução não concluída", text, *STATEMENT)


def _dispute_opened(payload: Payload) -> EventText:
    amount = _money(payload, "amount")
    text = f"O titular contestou um pagamento{_of(amount)}{_by(payload)} junto ao banco. O valor fica bloqueado até a decisão."
    return EventText(f"contestação{_of(amount)} aberta", text, *STATEMENT)


def _dispute_closed(payload: Payload) -> EventText:
    status = {"won": " a seu favor: o valor voltou ao saldo", "lost": ": o valor foi devolvido a quem contestou"}
    amount = _money(payload, "amount")
    text = f"A contestação{_of(amount)} terminou{status.get(str(payload.get('status')), '')}."
    return EventText(f"contestação{_of(amount)} encerrada", text, *STATEMENT)


def _credit_granted(payload: Payload) -> EventText:
    amount, until = _money(payload, "amount"), _day(payload, "expires_at")
    text = f"Você ganhou{f' {amount} em' if amount else ''} crédito promocional{f', para usar até {until}' if until else ''}."
    text += f"{_because(payload)} Ele é gasto antes do saldo pago."
    return EventText(f"crédito promocional{_of(amount)}", text, *STATEMENT)


def _credit_expiring(payload: Payload) -> EventText:
    amount, until = _money(payload, "amount"), _day(payload, "expires_at")
    text = f"Seu crédito promocional{_of(amount)} expira{f' em {until}' if until else ' em breve'}. O que sobrar deixa o saldo."
    return EventText(f"crédito promocional{_of(amount)} perto de expirar", text, *STATEMENT)


def _prices(payload: Payload) -> EventText:
    since, routes = _day(payload, "effective_at"), payload.get("routes")
    names = [str(name.get("name", name.get("route", ""))) if isinstance(name, dict) else str(name) for name in routes or []]
    names = list(dict.fromkeys(names))  # a route comes once for each of its units
    shown = ", ".join(names[:5]) + (f" e mais {len(names) - 5}" if len(names) > 5 else "")
    text = f"A partir de {since}, mudam os preços" if since else "Mudam os preços"
    title = f"mudança de preços{f' em {since}' if since else ''}"
    return EventText(title, f"{text}{f' de {shown}' if shown else ''}.", "Ver preços", "/precos/")


def _month_closed(payload: Payload) -> EventText:
    saved, net, (year, _, number) = _money(payload, "saved"), _money(payload, "net"), str(payload.get("month", "")).partition("-")
    month = f"{number}/{year}" if number else "O mês"
    text = f"{month} fechou em {net}" if net else f"{month} fechou"
    text += f", com {saved} de economia pelo desconto por volume." if saved and saved != format_brl(0) else "."
    return EventText(f"{month} fechado{f': economia de {saved}' if saved else ''}", text, "Ver o desconto", "/app/desconto/")


def _suspended(payload: Payload) -> EventText:
    text = f"A conta foi suspensa e as chamadas estão sendo recusadas.{_because(payload)} O saldo continua seu."
    return EventText("conta suspensa", f"{text} Fale com o suporte para resolver.", "Abrir o painel", "/app/")


def _hook_disabled(payload: Payload) -> EventText:
    name = str(payload.get("name") or payload.get("url") or "")
    text = f"Desligamos o webhook {name}: {payload.get('reason', 'ele não responde')}. Os avisos não chegam mais a esse endereço."
    text += " Corrija o endereço e ligue-o de novo; dá para reenviar o que faltou."
    return EventText("webhook desligado", text, "Ver webhooks", "/app/webhooks/")


def _invoice(payload: Payload) -> str:
    number = payload.get("number")
    return f"A nota fiscal{f' {number}' if number else ''}{_of(_money(payload, 'amount'))}"


def _invoice_issued(payload: Payload) -> EventText:
    return EventText("nota fiscal emitida", f"{_invoice(payload)} foi emitida.", *INVOICES)


def _invoice_cancelled(payload: Payload) -> EventText:
    return EventText("nota fiscal cancelada", f"{_invoice(payload)} foi cancelada.", *INVOICES)


def _invoice_needs_data(payload: Payload) -> EventText:
    problem = payload.get("problem")
    text = f"{_invoice(payload)} espera por um dado seu{f': {problem}' if problem else '.'}"
    return EventText("falta um dado para a sua nota fiscal", text, "Corrigir os dados", "/app/configuracoes/empresa/")


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
