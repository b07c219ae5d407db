"""The receiving bank's books: charges (cob), Pix, refunds (devolução), webhooks, its clock and its scripted faults.

No HTTP here. `psp` speaks the Banco Central's API over it, `bank_pages` is the payer's side, `hooks` delivers notices.
Amounts are the API's strings ("150.00"); sums go through Decimal.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from collections import defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tokia.sandbox.asgi import Json
from tokia.sandbox.brcode import dynamic_code
from tokia.sandbox.store import Store

ISPB = "99999004"  # no participant has it
LOCATION_HOST = "pix.sandbox.tokia.invalid/qr/v2"
REFUND_WINDOW = dt.timedelta(days=90)
Record = dict[str, Any]
Fault = dict[str, Any]  # {"kind": str, …options}

FAULTS_BY_OPERATION: dict[str, tuple[str, ...]] = {
    "token": ("500", "503", "401", "timeout"),
    "create_cob": ("500", "503", "timeout", "timeout_before", "webhook_before_answer", "txid_taken", "no_brcode"),
    "read_cob": ("500", "503", "404", "timeout"),
    "list_pix": ("500", "503", "timeout"),
    "refund": ("NAO_REALIZADO", "500", "timeout", "stuck"),
    "webhook": ("drop", "delay"),
}


class Refused(Exception):
    """A business refusal: the API's error type and its violations."""

    def __init__(self, kind: str, detail: str, violations: list[tuple[str, str, str]] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.violations = violations or []


class Bank:
    """Every charge and Pix of one receiver. `notify` is set by `hooks.Courier` and never blocks."""

    def __init__(self, *, store: Store, pix_key: str, tax_id: str, name: str, city: str, refund_seconds: float) -> None:
        self.store = store
        self.pix_key = pix_key
        self.tax_id = tax_id
        self.name = name
        self.city = city
        self.refund_seconds = refund_seconds
        self.offset_seconds = 0.0
        self.notify: Callable[[Record, int, float], None] = lambda pix, copies, delay_seconds: None
        self.faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self.settling: set[asyncio.Task[None]] = set()
        self.cobs: dict[str, Record] = dict(store.read_all("cob"))
        self.pix: dict[str, Record] = dict(store.read_all("pix"))
        self.webhooks: dict[str, Record] = dict(store.read_all("webhook"))

    # ── Clock and faults ─────────────────────────────────────────────────────────────────────────────────────────
    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.offset_seconds)

    def take_fault(self, operation: str, *kinds: str) -> Fault | None:
        """The next scripted fault of an operation, used up; only when it is one of `kinds` (all, when none are named)."""
        queue = self.faults[operation]
        if queue and (not kinds or queue[0]["kind"] in kinds):
            return queue.popleft()
        return None

    def add_fault(self, *, operation: str, fault: Fault, times: int) -> None:
        if fault.get("kind") not in FAULTS_BY_OPERATION.get(operation, ()):
            raise Refused("RequisicaoInvalida", f"{operation}: {FAULTS_BY_OPERATION.get(operation)}")
        self.faults[operation].extend(dict(fault) for _ in range(times))

    # ── Charges ──────────────────────────────────────────────────────────────────────────────────────────────────
    def create_cob(self, *, txid: str, requested: Record) -> Record:
        """Create the charge, or revise it when it is still ATIVA (the standard's PUT). Raises Refused."""
        self._refuse_bad_cob(requested)
        old = self.cobs.get(txid)
        if old is not None and old["status"] != "ATIVA":
            raise Refused(
                "CobOperacaoInvalida",
                "A cobrança já existe, não está no status ATIVA, e a presente requisição busca alterá-la.",
                [("A cobrança não está ATIVA.", "cob.status", old["status"])],
            )
        if old is not None:
            wanted = _cob_members(requested)
            if all(old.get(name) == value for name, value in wanted.items() if name != "calendario") and (
                old["calendario"]["expiracao"] == wanted["calendario"]["expiracao"]
            ):
                return old  # the same request again
            return self._revise(cob=old, members=wanted)
        now = _iso(self.now())
        location = f"{LOCATION_HOST}/{secrets.token_hex(16)}"
        members = _cob_members(requested)
        members["calendario"] = {"criacao": now, **members["calendario"]}
        cob: Record = {
            "txid": txid,
            "revisao": 0,
            "status": "ATIVA",
            "loc": {"id": len(self.cobs) + 1, "txid": txid, "location": location, "tipoCob": "cob", "criacao": now},
            "location": location,
            **members,
        }
        cob["pixCopiaECola"] = self._code_of(cob)
        self._save_cob(cob)
        return cob

    def revise_cob(self, *, txid: str, revised: Record) -> Record:
        """Change or remove an ATIVA charge. Raises Refused."""
        cob = self.read_cob(txid)
        if cob["status"] != "ATIVA":
            raise Refused(
                "CobOperacaoInvalida",
                "A cobrança não está ATIVA, e a presente requisição busca alterá-la.",
                [("A cobrança não está ATIVA.", "cob.status", cob["status"])],
            )
        if revised.get("status") and len(revised) > 1:
            raise Refused(
                "CobOperacaoInvalida",
                "Não se remove uma cobrança ao mesmo tempo em que se altera.",
                [("status junto com outras alterações", "cob.status", revised["status"])],
            )
        self._refuse_bad_cob(revised)
        members = {name: revised[name] for name in revised if name in _COB_NAMES or name == "status"}
        return self._revise(cob=cob, members=members)

    def read_cob(self, txid: str) -> Record:
        if txid not in self.cobs:
            raise Refused("CobNaoEncontrado", f"Cobrança não encontrada para o txid {txid}.")
        return self.cobs[txid]

    def remove_cob(self, txid: str) -> Record:
        """The bank itself takes a charge away."""
        cob = self.read_cob(txid)
        cob["status"] = "REMOVIDA_PELO_PSP"
        self._save_cob(cob)
        return cob

    def is_expired(self, cob: Record) -> bool:
        created_at = dt.datetime.fromisoformat(cob["calendario"]["criacao"])
        return self.now() > created_at + dt.timedelta(seconds=cob["calendario"]["expiracao"])

    def pix_of(self, txid: str) -> list[Record]:
        return [pix for pix in self.pix.values() if pix.get("txid") == txid]

    def _revise(self, *, cob: Record, members: Record) -> Record:
        cob.setdefault("_history", []).append({name: cob[name] for name in cob if name != "_history"})
        if "calendario" in members:
            members = {**members, "calendario": {**cob["calendario"], **members["calendario"]}}
        cob.update(members)
        cob["revisao"] += 1
        cob["pixCopiaECola"] = self._code_of(cob)
        self._save_cob(cob)
        return cob

    def _refuse_bad_cob(self, requested: Record) -> None:
        violations = []
        amount = requested.get("valor", {}).get("original")
        if amount is not None and Decimal(amount) == 0:
            violations.append(("O campo cob.valor.original é zero.", "cob.valor.original", amount))
        if requested.get("chave", self.pix_key) != self.pix_key:
            violations.append(
                ("O campo cob.chave corresponde a uma conta que não pertence a este usuário recebedor.", "cob.chave",
                 requested["chave"])
            )  # fmt: skip
        if violations:
            raise Refused("CobOperacaoInvalida", "A requisição não respeita o schema.", violations)

    def _code_of(self, cob: Record) -> str:
        return dynamic_code(location=cob["location"], name=self.name, city=self.city, amount=cob["valor"]["original"])

    def _save_cob(self, cob: Record) -> None:
        self.cobs[cob["txid"]] = cob
        self.store.put(room="cob", key=cob["txid"], value=cob)

    # ── Payments ─────────────────────────────────────────────────────────────────────────────────────────────────
    def receive_pix(
        self, *, txid: str | None, amount: str, payer: Record | None = None, note: str = "", pix_key: str | None = None
    ) -> Record:
        """Money arrives. A charge of that txid that is ATIVA becomes CONCLUIDA; nothing else is asked."""
        now = self.now()
        pix: Record = {
            "endToEndId": _unique_id("E", now),
            "valor": amount,
            "chave": pix_key or self.pix_key,
            "horario": _iso(now),
            "infoPagador": note,
            "componentesValor": {"original": {"valor": amount}},
            "_payer": payer or {},
        }
        if txid is not None:
            pix["txid"] = txid
        cob = self.cobs.get(txid or "")
        if cob is not None and cob["status"] == "ATIVA":
            cob["status"] = "CONCLUIDA"
            self._save_cob(cob)
        self._save_pix(pix)
        return pix

    def read_pix(self, end_to_end_id: str) -> Record:
        if end_to_end_id not in self.pix:
            raise Refused("PixNaoEncontrado", f"Pix não encontrado para o e2eid {end_to_end_id}.")
        return self.pix[end_to_end_id]

    def _save_pix(self, pix: Record) -> None:
        self.pix[pix["endToEndId"]] = pix
        self.store.put(room="pix", key=pix["endToEndId"], value=pix)

    # ── Refunds ──────────────────────────────────────────────────────────────────────────────────────────────────
    def request_refund(self, *, end_to_end_id: str, refund_id: str, requested: Record) -> Record:
        """Open a refund EM_PROCESSAMENTO; it settles by itself a moment later. Raises Refused."""
        pix = self.read_pix(end_to_end_id)
        refunds = pix.setdefault("devolucoes", [])
        amount = requested["valor"]
        reason = None
        if any(refund["id"] == refund_id for refund in refunds):
            reason = ("id já utilizado por outra requisição de devolução", "devolucao.id", refund_id)
        elif Decimal(amount) == 0:
            reason = ("O campo devolucao.valor é zero.", "devolucao.valor", amount)
        elif _refunded(pix) + Decimal(amount) > Decimal(pix["valor"]):
            reason = ("A soma das devoluções excederia o valor do pix originário", "devolucao.valor", amount)
        elif dt.datetime.fromisoformat(pix["horario"]) < self.now() - REFUND_WINDOW:
            reason = ("Fora da janela de 90 dias", "devolucao.horario", pix["horario"])
        if reason is not None:
            raise Refused("PixDevolucaoInvalida", reason[0], [reason])
        refund: Record = {
            "id": refund_id,
            "rtrId": _unique_id("D", self.now()),
            "valor": amount,
            "natureza": requested.get("natureza", "ORIGINAL"),
            "horario": {"solicitacao": _iso(self.now())},
            "status": "EM_PROCESSAMENTO",
        }
        if requested.get("descricao"):
            refund["descricao"] = requested["descricao"]
        refunds.append(refund)
        self._save_pix(pix)
        return refund

    def settle_refund_soon(self, *, end_to_end_id: str, refund_id: str, fault: Fault | None) -> None:
        if fault is not None and fault["kind"] == "stuck":
            return
        task = asyncio.get_running_loop().create_task(
            self._settle_refund(end_to_end_id=end_to_end_id, refund_id=refund_id, fault=fault)
        )
        self.settling.add(task)
        task.add_done_callback(self.settling.discard)

    async def _settle_refund(self, *, end_to_end_id: str, refund_id: str, fault: Fault | None) -> None:
        await asyncio.sleep(self.refund_seconds)
        if fault is None:
            self.finish_refund(end_to_end_id=end_to_end_id, refund_id=refund_id, status="DEVOLVIDO", reason="")
            return
        reason = str(fault.get("motivo", "Saldo insuficiente na conta do recebedor."))
        self.finish_refund(end_to_end_id=end_to_end_id, refund_id=refund_id, status="NAO_REALIZADO", reason=reason)

    def finish_refund(self, *, end_to_end_id: str, refund_id: str, status: str, reason: str) -> Record:
        """Move a refund to its final state and tell the receiver. Raises Refused."""
        pix = self.read_pix(end_to_end_id)
        refund = self.read_refund(end_to_end_id=end_to_end_id, refund_id=refund_id)
        if refund["status"] == "EM_PROCESSAMENTO":
            refund["status"] = status
            if status == "DEVOLVIDO":
                refund["horario"]["liquidacao"] = _iso(self.now())
            if reason:
                refund["motivo"] = reason[:140]
            self._save_pix(pix)
            self.notify(pix, 1, 0.0)
        return refund

    def read_refund(self, *, end_to_end_id: str, refund_id: str) -> Record:
        for refund in self.read_pix(end_to_end_id).get("devolucoes", ()):
            if refund["id"] == refund_id:
                found: Record = refund
                return found
        raise Refused("PixDevolucaoNaoEncontrada", f"Devolução {refund_id} não encontrada.")

    def take_back(self, *, end_to_end_id: str, amount: str | None, nature: str) -> Record:
        """The payer's bank takes money back (MED): a refund that the receiver never asked for. Raises Refused."""
        pix = self.read_pix(end_to_end_id)
        amount = amount or f"{Decimal(pix['valor']) - _refunded(pix):.2f}"
        refund_id = f"med{secrets.token_hex(8)}"
        self.request_refund(end_to_end_id=end_to_end_id, refund_id=refund_id, requested={"valor": amount})
        self.read_refund(end_to_end_id=end_to_end_id, refund_id=refund_id)["natureza"] = nature
        return self.finish_refund(end_to_end_id=end_to_end_id, refund_id=refund_id, status="DEVOLVIDO", reason="")

    def resume(self) -> None:
        """After a restart: refunds that were under way go on."""
        for pix in list(self.pix.values()):
            for refund in pix.get("devolucoes", ()):
                if refund["status"] == "EM_PROCESSAMENTO":
                    self.settle_refund_soon(end_to_end_id=pix["endToEndId"], refund_id=refund["id"], fault=None)

    # ── Webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────
    def set_webhook(self, url: str) -> Record:
        webhook = {"webhookUrl": url, "chave": self.pix_key, "cnpj": self.tax_id, "criacao": _iso(self.now())}
        self.webhooks[self.pix_key] = webhook
        self.store.put(room="webhook", key=self.pix_key, value=webhook)
        return webhook

    def drop_webhook(self) -> None:
        self.webhooks.pop(self.pix_key, None)
        self.store.delete(room="webhook", key=self.pix_key)

    def forget_everything(self) -> None:
        for room, records in (("cob", self.cobs), ("pix", self.pix), ("webhook", self.webhooks)):
            records.clear()
            self.store.clear(room)
        self.faults.clear()
        self.offset_seconds = 0.0
        for task in self.settling:
            task.cancel()


_COB_NAMES = ("calendario", "devedor", "valor", "chave", "solicitacaoPagador", "infoAdicionais")


def public(record: Record) -> Record:
    """A record without the bank's private members."""
    return {name: value for name, value in record.items() if not name.startswith("_")}


def _cob_members(requested: Record) -> Record:
    members = {name: requested[name] for name in _COB_NAMES if requested.get(name) is not None}
    members["calendario"] = {"expiracao": requested["calendario"].get("expiracao", 86_400)}
    return members


def _refunded(pix: Record) -> Decimal:
    live = [refund for refund in pix.get("devolucoes", ()) if refund["status"] != "NAO_REALIZADO"]
    return sum((Decimal(refund["valor"]) for refund in live), Decimal(0))


def _iso(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unique_id(prefix: str, moment: dt.datetime) -> str:
    """`E` or `D`, ISPB, minute (UTC), 11 random characters: 32 in all."""
    return f"{prefix}{ISPB}{moment:%Y%m%d%H%M}{secrets.token_hex(6)[:11]}"


def parse_moment(text: str) -> dt.datetime:
    """An RFC 3339 instant with its offset. Raises ValueError."""
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("RFC 3339 needs an offset")
    return moment


def parse_fault(spec: Json) -> Fault:
    return spec if isinstance(spec, dict) else {"kind": str(spec)}
