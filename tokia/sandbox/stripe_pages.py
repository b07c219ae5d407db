"""What people see of the sandbox's Stripe: the checkout, the cardholder's bank, a Pix to pay, the list of payments."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from tokia.sandbox import pages
from tokia.sandbox.asgi import Request, Response, html_response, redirect
from tokia.sandbox.stripe_books import Books, Record, StripeError
from tokia.sandbox.stripe_cards import TEST_CARDS
from tokia.sandbox.stripe_payments import Payments
from tokia.sandbox.stripe_sessions import Sessions

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
LISTED_MAX = 50
STATUS_LABELS = {
    "requires_payment_method": "Aguardando um cartão", "requires_action": "Aguardando a pessoa", "succeeded": "Pago",
    "canceled": "Cancelado", "requires_confirmation": "Aguardando confirmação",
}  # fmt: skip
SLIPS = {
    "generic_decline": "O cartão foi recusado.", "insufficient_funds": "O cartão não tem saldo ou limite.",
    "expired_card": "O cartão está vencido.", "stolen_card": "O cartão foi recusado.",
    "incorrect_number": "Este número não é de um cartão de teste. Use um da lista.",
}  # fmt: skip


@dataclass
class StripePages:
    books: Books
    payments: Payments
    sessions: Sessions

    def serve(self, request: Request, path: str) -> Response:
        room, _, rest = path.strip("/").partition("/")
        is_post = request.method == "POST"
        try:
            if room == "checkout" and rest:
                session = self.sessions.refresh(self.books.get("checkout.session", rest))
                return self._check_out(session, request.form) if is_post else self._checkout_page(session)
            if room == "3ds" and rest:
                intent = self.books.get("payment_intent", rest)
                return self._authenticate(intent, request.form) if is_post else self._bank_page(intent)
            if room == "pix" and rest:
                intent = self.payments.refresh(self.books.get("payment_intent", rest))
                return self._pay_pix(intent) if is_post else self._pix_page(intent)
            if room == "":
                return html_response(self._index_page())
        except StripeError as error:
            body = f'<h1>Não deu certo</h1><p>{escape(str(error))}</p><p><a href="/stripe/">Voltar</a></p>'
            return html_response(pages.page(title="Não deu certo", body=body), status=error.status)
        return html_response(pages.page(title="Não encontrado", body="<h1>Página não encontrada</h1>"), status=404)

    # ── Checkout ─────────────────────────────────────────────────────────────────────────────────────────────────
    def _check_out(self, session: Record, form: dict[str, str]) -> Response:
        try:
            if session["mode"] == "setup":
                self.sessions.save_card(session, number=form.get("numero", ""))
            elif form.get("como") == "pix":
                return redirect(f"/stripe/pix/{self.sessions.pay_by_pix(session)['id']}")
            else:
                intent = self.sessions.pay_by_card(session, number=form.get("numero", ""))
                if intent["status"] == "requires_action":
                    return redirect(f"/stripe/3ds/{intent['id']}")
        except StripeError as error:
            if error.status != 402:
                raise
            slip = SLIPS.get(str(error.body.get("decline_code") or error.body.get("code")), "O cartão foi recusado.")
            return self._checkout_page(session, slip=slip)
        return redirect(self.sessions.after(session))

    def _checkout_page(self, session: Record, *, slip: str = "") -> Response:
        if session["status"] != "open":
            text = "Esta página já foi usada." if session["status"] == "complete" else "Esta página expirou. Nada foi cobrado."
            back = f'<p><a class="button" href="{escape(self.sessions.after(session), quote=True)}">Voltar para a loja</a></p>'
            return _page("Página encerrada", f"<h1>{text}</h1>{back}", allow=session["success_url"])
        is_setup = session["mode"] == "setup"
        title = "Salvar cartão" if is_setup else "Pagar com cartão"
        button = "Salvar cartão" if is_setup else "Pagar"
        lines = "".join(f"<dt>Descrição</dt><dd>{escape(line)}</dd>" for line in session["_lines"])
        total = "" if is_setup else f'<div class="value">{_reais(session["amount_total"])}</div>'
        options = "".join(
            f'<option value="{card.number}">{card.number[:4]} •••• {card.number[-4:]}: {escape(card.label)}</option>'
            for card in TEST_CARDS
        )
        warning = f'<p class="notice" role="alert">{escape(slip)} Nada foi cobrado.</p>' if slip else ""
        cancel = (
            f'<p><a href="{escape(session["cancel_url"], quote=True)}">Cancelar e voltar</a></p>' if session["cancel_url"] else ""
        )
        pix = (
            '<form method="post"><input type="hidden" name="como" value="pix">'
            '<button class="button plain">Pagar com Pix</button></form>'
            if "pix" in session["payment_method_types"] and not is_setup
            else ""
        )
        action = f"/stripe/checkout/{session['id']}"
        body = (
            f'<h1>{title}</h1><p class="soft">Stripe de demonstração: só cartões de teste, nenhum dinheiro de verdade.</p>{warning}'
            f'<div class="card">{total}<dl><dt>Para</dt><dd>Tokia</dd>{lines}</dl>'
            f'<form method="post" action="{action}"><label for="numero">Cartão de teste</label>'
            f'<select id="numero" name="numero">{options}</select>'
            f'<p><button class="button" type="submit">{button}</button></p></form>{pix}</div>{cancel}'
        )
        return _page(title, body, allow=session["success_url"])

    # ── The cardholder's bank ────────────────────────────────────────────────────────────────────────────────────
    def _authenticate(self, intent: Record, form: dict[str, str]) -> Response:
        action = intent["next_action"] or {}
        if intent["status"] != "requires_action" or action.get("type") != "redirect_to_url":
            raise StripeError(400, "payment_intent_unexpected_state", "Nada espera por confirmação aqui.")
        back = action["redirect_to_url"]["return_url"]
        session = self.sessions.session_of(intent)
        try:
            if form.get("resposta") != "sim":
                raise self.payments.decline(intent, "authentication_required")
            self.payments.charge(intent)
        except StripeError:
            return redirect(f"/stripe/checkout/{session['id']}" if session else back)
        if session is not None:
            self.sessions.complete(session, intent)
        return redirect(back)

    def _bank_page(self, intent: Record) -> Response:
        action = (intent["next_action"] or {}).get("redirect_to_url")
        if action is None:
            return _page("Banco do cartão", f"<h1>{STATUS_LABELS.get(intent['status'], intent['status'])}</h1>", allow="")
        buttons = (
            '<button class="button" name="resposta" value="sim">Confirmar a compra</button> '
            '<button class="button plain" name="resposta" value="nao">Recusar</button>'
        )
        body = (
            f'<h1>O banco do seu cartão pergunta</h1><div class="card"><div class="value">{_reais(intent["amount"])}</div>'
            f'<p>Você está comprando na Tokia?</p><form method="post" action="/stripe/3ds/{intent["id"]}">{buttons}</form></div>'
        )
        return _page("Banco do cartão", body, allow=action["return_url"])

    # ── Pix ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _pay_pix(self, intent: Record) -> Response:
        self.payments.pay_pix(intent)
        session = self.sessions.session_of(intent)
        if session is not None:
            self.sessions.complete(session, intent)
            return redirect(self.sessions.after(session))
        return redirect(f"/stripe/pix/{intent['id']}")

    def _pix_page(self, intent: Record) -> Response:
        session = self.sessions.session_of(intent)
        is_open = intent["status"] == "requires_action"
        form = f'<form method="post" action="/stripe/pix/{intent["id"]}"><button class="button">Pagar agora</button></form>'
        status = STATUS_LABELS.get(intent["status"], intent["status"])
        body = (
            f"<h1>{'Pagar com Pix' if is_open else status}</h1>"
            f'<div class="card"><div class="value">{_reais(intent["amount"])}</div>'
            f"<dl><dt>Para</dt><dd>Tokia, pela Stripe</dd><dt>Situação</dt><dd>{status}</dd></dl>{form if is_open else ''}</div>"
            '<p><a href="/stripe/">Ver todos os pagamentos</a></p>'
        )
        return _page("Pagar com Pix", body, allow=session["success_url"] if session else "")

    # ── List ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _index_page(self) -> str:
        intents = list(reversed(list(self.books.all("payment_intent"))))[:LISTED_MAX]
        rows = "".join(self._row(intent) for intent in intents)
        cards = "".join(f"<dt>{card.number}</dt><dd>{escape(card.label)}</dd>" for card in TEST_CARDS)
        body = (
            '<h1>Stripe de demonstração</h1><p class="notice">Nenhum dinheiro de verdade.</p>'
            f"<h2>Pagamentos</h2>{rows or '<p class=soft>Nenhum ainda. Recarregue com cartão na Tokia.</p>'}"
            f'<h2>Cartões de teste</h2><div class="card"><dl>{cards}</dl></div>'
        )
        return pages.page(title="Stripe", body=body, refresh_seconds=10)

    def _row(self, intent: Record) -> str:
        at = dt.datetime.fromtimestamp(intent["created"], SAO_PAULO)
        is_pix = (intent["next_action"] or {}).get("type") == "pix_display_qr_code"
        link = f'<a class="button" href="/stripe/pix/{intent["id"]}">Pagar</a>' if is_pix else ""
        status = STATUS_LABELS.get(intent["status"], intent["status"])
        return (
            f'<div class="card row"><div><div class="value">{_reais(intent["amount"])}</div>'
            f'<div class="soft">{status} · {at:%d/%m/%Y %H:%M:%S} · {intent["id"]}</div></div>{link}</div>'
        )


def _reais(centavos: int) -> str:
    return pages.reais(f"{centavos // 100}.{centavos % 100:02d}")


def _page(title: str, body: str, *, allow: str) -> Response:
    """`allow`: the address to which an answered form may lead back."""
    response = html_response(pages.page(title=title, body=body))
    parts = urlsplit(allow)
    if parts.netloc:
        policy = response.headers["content-security-policy"]
        response.headers["content-security-policy"] = policy.replace(
            "form-action 'self'", f"form-action 'self' {parts.scheme}://{parts.netloc}"
        )
    return response
