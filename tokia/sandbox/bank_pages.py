"""The payer's side of the sandbox bank: the pay-now pages in Portuguese and their JSON control API."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from html import escape
from zoneinfo import ZoneInfo

from tokia.sandbox import pages
from tokia.sandbox import pix_schemas_2_9_0 as schemas
from tokia.sandbox.asgi import Json, Request, Response, html_response, json_response, redirect
from tokia.sandbox.bank import FAULTS_BY_OPERATION, Bank, Record, Refused, parse_fault, public
from tokia.sandbox.hooks import Courier
from tokia.sandbox.psp import problem

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
LISTED_MAX = 50
TIMES_MAX = 1000
STATUS_LABELS = {
    "ATIVA": "Aguardando pagamento",
    "CONCLUIDA": "Paga",
    "REMOVIDA_PELO_USUARIO_RECEBEDOR": "Cancelada",
    "REMOVIDA_PELO_PSP": "Cancelada pelo banco",
}


@dataclass
class BankPages:
    """`/bank/…` on the plain HTTP port."""

    bank: Bank
    courier: Courier

    async def serve(self, request: Request) -> Response:
        path = request.path
        try:
            if path.startswith("/bank/api/"):
                return self._control(request, path.removeprefix("/bank/api/"))
            if path in ("/bank", "/bank/"):
                return html_response(self._list_page())
            match = re.fullmatch(r"/bank/pay/([a-zA-Z0-9]{1,35})/?", path)
            if match and request.method == "POST":
                return self._pay_by_form(request, match[1])
            if match:
                return html_response(self._pay_page(match[1]))
        except Refused as refusal:
            if path.startswith("/bank/api/"):
                return problem(refusal)
            return html_response(_refusal_page(refusal), status=problem(refusal).status)
        return html_response(_refusal_page(Refused("NaoEncontrado", "Página não encontrada.")), status=404)

    # ── Pages ────────────────────────────────────────────────────────────────────────────────────────────────────
    def _list_page(self) -> str:
        newest = sorted(self.bank.cobs.values(), key=lambda cob: str(cob["calendario"]["criacao"]), reverse=True)
        waiting = [cob for cob in newest if self._is_payable(cob)]
        others = [cob for cob in newest if not self._is_payable(cob)]
        body = [
            "<h1>Banco do sandbox</h1>",
            '<p class="notice">Dinheiro de mentira: nada aqui sai desta máquina.</p>',
            "<h2>Cobranças para pagar</h2>",
            "".join(self._card(cob) for cob in waiting[:LISTED_MAX])
            or '<p class="soft">Nenhuma cobrança em aberto. Gere um PIX na Tokia e volte aqui.</p>',
        ]
        if others:
            body += ["<h2>Últimas cobranças</h2>", *(self._card(cob) for cob in others[:LISTED_MAX])]
        return pages.page(title="Banco", body="".join(body), refresh_seconds=5)

    def _card(self, cob: Record) -> str:
        action = (
            f'<a class="button" href="/bank/pay/{cob["txid"]}">Pagar</a>'
            if self._is_payable(cob)
            else f'<a href="/bank/pay/{cob["txid"]}">{self._label(cob)}</a>'
        )
        return (
            f'<div class="card row"><div><div class="value">{pages.reais(cob["valor"]["original"])}</div>'
            f'<div class="soft">{escape(_debtor(cob))} · {_local_time(cob["calendario"]["criacao"])}</div></div>{action}</div>'
        )

    def _pay_page(self, txid: str) -> str:
        cob = self.bank.read_cob(txid)
        paid = self.bank.pix_of(txid)
        amount = cob["valor"]["original"]
        body = [
            f"<h1>{'Pagar com PIX' if self._is_payable(cob) else escape(self._label(cob))}</h1>",
            f'<div class="card"><div class="value">{pages.reais(amount)}</div><dl>'
            f"<dt>Para</dt><dd>{escape(self.bank.name)}</dd>"
            f"<dt>Pagador</dt><dd>{escape(_debtor(cob))}</dd>"
            f"<dt>Descrição</dt><dd>{escape(cob.get('solicitacaoPagador', '—'))}</dd>"
            f"<dt>Situação</dt><dd>{escape(self._label(cob))}</dd>"
            f"<dt>Identificador</dt><dd>{txid}</dd></dl>",
        ]
        if self._is_payable(cob):
            body.append(
                f'<form method="post" action="/bank/pay/{txid}"><button class="button" type="submit">Pagar agora</button></form>'
                f'</div><details class="card"><summary>Pagar outro valor</summary>'
                f'<form method="post" action="/bank/pay/{txid}"><label for="valor">Valor em reais</label>'
                f'<input id="valor" name="valor" inputmode="decimal" placeholder="{amount.replace(".", ",")}" required> '
                f'<button class="button plain" type="submit">Pagar este valor</button></form></details>'
            )
        else:
            body.append("</div>")
        for pix in paid:
            body.append(
                f'<div class="card"><strong>Pago: {pages.reais(pix["valor"])}</strong>'
                f'<div class="soft">{_local_time(pix["horario"])} · {pix["endToEndId"]}</div></div>'
            )
        body.append('<p><a href="/bank/">Voltar às cobranças</a></p>')
        return pages.page(title="Pagar com PIX", body="".join(body))

    def _pay_by_form(self, request: Request, txid: str) -> Response:
        cob = self.bank.read_cob(txid)
        if not self._is_payable(cob):
            raise Refused("CobOperacaoInvalida", f"Esta cobrança não pode ser paga: {self._label(cob).lower()}.")
        text = request.form.get("valor", "").strip()
        amount = _amount_from_text(text) if text else cob["valor"]["original"]
        pix = self.bank.receive_pix(txid=txid, amount=amount, payer=cob.get("devedor"))
        self.bank.notify(pix, 1, 0.0)
        return redirect(f"/bank/pay/{txid}")

    def _is_payable(self, cob: Record) -> bool:
        return cob["status"] == "ATIVA" and not self.bank.is_expired(cob)

    def _label(self, cob: Record) -> str:
        if cob["status"] == "ATIVA" and self.bank.is_expired(cob):
            return "Expirada"
        return STATUS_LABELS[cob["status"]]

    # ── JSON control ─────────────────────────────────────────────────────────────────────────────────────────────
    def _control(self, request: Request, path: str) -> Response:
        verb, _, rest = path.strip("/").partition("/")
        if request.method == "GET" and verb == "state":
            return json_response(self._state())
        if request.method == "GET" and verb == "faults":
            return json_response({"pending": self._pending_faults(), "known": FAULTS_BY_OPERATION})
        if request.method == "DELETE" and verb == "faults":
            self.bank.faults.clear()
            return json_response({"pending": {}})
        if request.method != "POST":
            raise Refused("NaoEncontrado", request.path)
        body = request.json_object()
        if verb == "pay" and rest:
            return json_response(self._pay(txid=rest, body=body))
        if verb == "pay-unknown":
            return json_response(self._pay_unknown(body))
        if verb == "faults":
            return json_response(self._script(body))
        if verb == "clock":
            self.bank.offset_seconds = float(body.get("offset_seconds", 0))
            return json_response({"offset_seconds": self.bank.offset_seconds, "now": self.bank.now().isoformat()})
        if verb == "med-refund" and rest:
            amount = _checked_amount(body["valor"]) if "valor" in body else None
            nature = _one_of(body.get("natureza", "MED_FRAUDE"), ("MED_FRAUDE", "MED_OPERACIONAL", "MED_PIX_AUTOMATICO"))
            return json_response(self.bank.take_back(end_to_end_id=rest, amount=amount, nature=nature))
        if verb == "finish-refund" and rest.count("/") == 1:
            end_to_end_id, refund_id = rest.split("/")
            status = _one_of(body.get("status", "DEVOLVIDO"), ("DEVOLVIDO", "NAO_REALIZADO"))
            reason = str(body.get("motivo", ""))
            return json_response(
                self.bank.finish_refund(end_to_end_id=end_to_end_id, refund_id=refund_id, status=status, reason=reason)
            )
        if verb == "remove" and rest:
            return json_response(public(self.bank.remove_cob(rest)))
        if verb == "settings":
            self.bank.refund_seconds = float(body.get("refund_ms", self.bank.refund_seconds * 1000)) / 1000
            return json_response({"refund_ms": self.bank.refund_seconds * 1000})
        if verb == "reset":
            self.bank.forget_everything()
            self.courier.forget_everything()
            return json_response({"reset": True})
        raise Refused("NaoEncontrado", request.path)

    def _pay(self, *, txid: str, body: Record) -> Json:
        cob = self.bank.read_cob(txid)
        if cob["status"] != "ATIVA" and not body.get("force"):
            raise Refused("CobOperacaoInvalida", f"A cobrança está {cob['status']}; use force para pagar assim mesmo.")
        amount = _checked_amount(body["valor"]) if body.get("valor") is not None else cob["valor"]["original"]
        paid = []
        for _ in range(_count(body.get("times", 1))):
            pix = self.bank.receive_pix(txid=txid, amount=amount, payer=cob.get("devedor"), note=str(body.get("infoPagador", "")))
            self._notify(pix, body)
            paid.append(public(pix))
        return {"pix": paid}

    def _pay_unknown(self, body: Record) -> Json:
        """A Pix whose txid nobody created (`txid` absent: one is made up), or that has none (`txid: null`)."""
        txid = body.get("txid", f"semcobranca{dt.datetime.now(dt.UTC):%Y%m%d%H%M%S%f}"[:35])
        pix = self.bank.receive_pix(txid=txid, amount=_checked_amount(body.get("valor", "10.00")), pix_key=body.get("chave"))
        self._notify(pix, body)
        return {"pix": [public(pix)]}

    def _notify(self, pix: Record, body: Record) -> None:
        if not body.get("drop"):
            self.bank.notify(pix, _count(body.get("duplicate", 1)), float(body.get("delay_ms", 0)) / 1000)

    def _script(self, body: Record) -> Json:
        """`{"create_cob": ["timeout", {"kind": "500"}], "refund": "NAO_REALIZADO", "times": 1}`"""
        times = _count(body.get("times", 1))
        for operation in FAULTS_BY_OPERATION:
            specs = body.get(operation, [])
            for spec in specs if isinstance(specs, list) else [specs]:
                self.bank.add_fault(operation=operation, fault=parse_fault(spec), times=times)
        unknown = set(body) - set(FAULTS_BY_OPERATION) - {"times"}
        if unknown:
            raise Refused("RequisicaoInvalida", f"Operações: {', '.join(FAULTS_BY_OPERATION)}; não {sorted(unknown)}.")
        return {"pending": self._pending_faults()}

    def _pending_faults(self) -> Json:
        return {operation: list(queue) for operation, queue in self.bank.faults.items() if queue}

    def _state(self) -> Json:
        return {
            "now": self.bank.now().isoformat(),
            "cobs": [public(cob) for cob in self.bank.cobs.values()],
            "pix": [public(pix) for pix in self.bank.pix.values()],
            "webhooks": list(self.bank.webhooks.values()),
            "deliveries": list(self.courier.deliveries),
            "faults": self._pending_faults(),
        }


def _refusal_page(refusal: Refused) -> str:
    body = f'<h1>Não deu certo</h1><p>{escape(refusal.detail)}</p><p><a href="/bank/">Voltar às cobranças</a></p>'
    return pages.page(title="Não deu certo", body=body)


def _debtor(cob: Record) -> str:
    return str(cob.get("devedor", {}).get("nome", "Pagador não informado"))


def _local_time(moment: str) -> str:
    return f"{dt.datetime.fromisoformat(moment).astimezone(SAO_PAULO):%d/%m/%Y %H:%M:%S}"


def _checked_amount(value: Json) -> str:
    if not isinstance(value, str) or not re.fullmatch(schemas.AMOUNT, value, re.ASCII):
        raise Refused("RequisicaoInvalida", f'valor é um texto como "150.00", não {value!r}.')
    return value


def _amount_from_text(text: str) -> str:
    """ "1.234,5" or "1234.50" as a person types it → "1234.50". Raises Refused."""
    plain = text.removeprefix("R$").strip()
    if "," in plain:
        plain = plain.replace(".", "").replace(",", ".")
    whole, _, cents = plain.partition(".")
    return _checked_amount(f"{whole}.{cents:0<2}")


def _one_of(value: Json, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise Refused("RequisicaoInvalida", f"um de {', '.join(allowed)}")
    return str(value)


def _count(value: Json) -> int:
    times = int(value)
    if not 0 <= times <= TIMES_MAX:
        raise Refused("RequisicaoInvalida", f"de 0 a {TIMES_MAX}")
    return times
