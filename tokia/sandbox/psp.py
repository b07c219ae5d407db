"""The Banco Central's API Pix 2.9.0 as a receiving bank serves it: mutual TLS, OAuth2, cob, pix, devolucao, webhook."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tokia.sandbox import pix_schemas_2_9_0 as schemas
from tokia.sandbox.asgi import BadJson, Json, Request, Response, dump, json_response
from tokia.sandbox.bank import Bank, Fault, Record, Refused, parse_moment, public
from tokia.sandbox.certs import CLIENT_NAME
from tokia.sandbox.hooks import Courier

PROBLEM_BASE = "https://pix.bcb.gov.br/api/v2/error/"
STATUS_BY_KIND = {
    "AcessoNegado": 403,
    "NaoEncontrado": 404,
    "CobNaoEncontrado": 404,
    "PixNaoEncontrado": 404,
    "PixDevolucaoNaoEncontrada": 404,
    "WebhookNaoEncontrado": 404,
    "ErroInternoDoServidor": 500,
    "ServicoIndisponivel": 503,
}
SCOPES = ("cob.write", "cob.read", "pix.write", "pix.read", "webhook.write", "webhook.read")
TOKEN_SECONDS = 3600
TIMEOUT_MS = 60_000  # how long a lost answer keeps the client waiting, unless the fault says `ms`
PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1000
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")

Handler = Callable[..., Awaitable[Response]]


@dataclass
class Psp:
    """The API over the bank's books. Its URLs work at the root and under `/v2`, as banks differ."""

    bank: Bank
    courier: Courier
    client_id: str
    client_secret: str
    tokens: dict[str, tuple[float, frozenset[str]]] = field(default_factory=dict)

    async def serve(self, request: Request) -> None:
        """Answer one request of the mTLS port, whatever happens."""
        try:
            response = await self._dispatch(request)
        except Refused as refusal:
            response = problem(refusal)
        except BadJson as error:
            response = problem(Refused("RequisicaoInvalida", f"O corpo não é um objeto JSON: {error}"))
        await request.answer(response)

    async def _dispatch(self, request: Request) -> Response:
        if _client_name(request) != CLIENT_NAME:
            raise Refused("AcessoNegado", "O certificado apresentado não é o deste cliente.")
        path = re.sub(r"^/v2(?=/)", "", request.path)
        if path == "/oauth/token":
            return await self._grant_token(request)
        for method, pattern, scope, handler in self._routes():
            match = re.fullmatch(pattern, path)
            if match and request.method == method:
                granted = self._scopes_of(request)
                if granted is None:
                    return json_response(
                        {"error": "invalid_token"}, status=401, headers={"www-authenticate": 'Bearer error="invalid_token"'}
                    )
                if scope not in granted:
                    raise Refused("AcessoNegado", f"Falta o escopo {scope}.")
                return await handler(request, *match.groups())
        raise Refused("NaoEncontrado", f"{request.method} {request.path}")

    def _routes(self) -> list[tuple[str, str, str, Handler]]:
        return [
            ("PUT", r"/cob/([^/]+)", "cob.write", self._put_cob),
            ("PATCH", r"/cob/([^/]+)", "cob.write", self._patch_cob),
            ("GET", r"/cob/([^/]+)", "cob.read", self._get_cob),
            ("GET", r"/pix", "pix.read", self._list_pix),
            ("GET", r"/pix/([^/]+)", "pix.read", self._get_pix),
            ("PUT", r"/pix/([^/]+)/devolucao/([^/]+)", "pix.write", self._put_refund),
            ("GET", r"/pix/([^/]+)/devolucao/([^/]+)", "pix.read", self._get_refund),
            ("PUT", r"/webhook/([^/]+)", "webhook.write", self._put_webhook),
            ("GET", r"/webhook/([^/]+)", "webhook.read", self._get_webhook),
            ("DELETE", r"/webhook/([^/]+)", "webhook.write", self._delete_webhook),
        ]

    # ── OAuth2 ───────────────────────────────────────────────────────────────────────────────────────────────────
    async def _grant_token(self, request: Request) -> Response:
        fault = self.bank.take_fault("token")
        if fault is not None and fault["kind"] != "401":
            await self._suffer(fault)
        if request.method != "POST":
            raise Refused("NaoEncontrado", "POST /oauth/token")
        user, secret = _basic_credentials(request.headers.get("authorization", ""))
        is_known = hmac.compare_digest(user, self.client_id.encode()) & hmac.compare_digest(secret, self.client_secret.encode())
        if not is_known or fault is not None:
            headers = {"www-authenticate": 'Basic realm="psp"'}
            return json_response({"error": "invalid_client"}, status=401, headers=headers)
        is_json = request.headers.get("content-type", "").startswith("application/json")
        asked: dict[str, Any] = request.json_object() if is_json else dict(request.form)
        if asked.get("grant_type") != "client_credentials":
            return json_response({"error": "unsupported_grant_type"}, status=400)
        scopes = str(asked.get("scope") or " ".join(SCOPES)).split()
        if not set(scopes) <= set(SCOPES):
            return json_response({"error": "invalid_scope"}, status=400)
        token = secrets.token_urlsafe(32)
        self.tokens[token] = (time.monotonic() + TOKEN_SECONDS, frozenset(scopes))
        granted = {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS, "scope": " ".join(scopes)}
        return json_response(granted, headers={"cache-control": "no-store"})

    def _scopes_of(self, request: Request) -> frozenset[str] | None:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        expires_at, scopes = self.tokens.get(token, (0.0, frozenset()))
        return scopes if kind.lower() == "bearer" and expires_at > time.monotonic() else None

    # ── Charges ──────────────────────────────────────────────────────────────────────────────────────────────────
    async def _put_cob(self, request: Request, txid: str) -> Response:
        fault = self.bank.take_fault("create_cob")
        kind = fault["kind"] if fault else ""
        if fault is not None and kind in ("500", "503", "timeout_before"):
            await self._suffer(fault)
        if kind == "txid_taken":
            return json_response({"nome": "txid_duplicado", "mensagem": "O txid informado já existe."}, status=409)
        _refuse_pattern(txid, pattern=schemas.TXID, path="cob.txid", kind="CobOperacaoInvalida")
        requested = _checked(request.json_object(), schema=schemas.COB_REQUESTED, path="cob", kind="CobOperacaoInvalida")
        cob = self.bank.create_cob(txid=txid, requested=requested)
        if fault is not None and kind == "timeout":
            await self._suffer(fault)
        if kind == "webhook_before_answer":
            pix = self.bank.receive_pix(txid=txid, amount=cob["valor"]["original"])
            await self.courier.notify_now(pix)
        answer = public(cob)
        if kind == "no_brcode":
            answer.pop("pixCopiaECola")
        return json_response(answer, status=201)

    async def _patch_cob(self, request: Request, txid: str) -> Response:
        revised = _checked(request.json_object(), schema=schemas.COB_REVISED, path="cob", kind="CobOperacaoInvalida")
        return json_response(public(self.bank.revise_cob(txid=txid, revised=revised)))

    async def _get_cob(self, request: Request, txid: str) -> Response:
        fault = self.bank.take_fault("read_cob")
        if fault is not None and fault["kind"] == "404":
            raise Refused("CobNaoEncontrado", f"Cobrança não encontrada para o txid {txid}.")
        await self._suffer(fault)
        cob = self.bank.read_cob(txid)
        wanted = request.query.get("revisao")
        if wanted is not None and wanted != str(cob["revisao"]):
            history = {str(old["revisao"]): old for old in cob.get("_history", ())}
            if wanted not in history:
                raise Refused(
                    "CobConsultaInvalida",
                    "O parâmetro revisao corresponde a uma revisão inexistente.",
                    [("revisão inexistente", "revisao", wanted)],
                )
            return json_response(history[wanted])
        paid = [public(pix) for pix in self.bank.pix_of(txid)]
        return json_response({**public(cob), **({"pix": paid} if paid else {})})

    # ── Pix and refunds ──────────────────────────────────────────────────────────────────────────────────────────
    async def _list_pix(self, request: Request) -> Response:
        await self._suffer(self.bank.take_fault("list_pix"))
        query = request.query
        page = _read_page(query)
        start, end = _read_period(query)
        found = [pix for pix in self.bank.pix.values() if start <= parse_moment(pix["horario"]) <= end]
        found = sorted((pix for pix in found if _matches(pix, query)), key=lambda pix: str(pix["horario"]))
        first = page["paginaAtual"] * page["itensPorPagina"]
        parameters: dict[str, Json] = {"inicio": query["inicio"], "fim": query["fim"]}
        for name in ("txid", "cpf", "cnpj"):
            if name in query:
                parameters[name] = query[name]
        for name in ("txIdPresente", "devolucaoPresente"):
            if name in query:
                parameters[name] = query[name] == "true"
        parameters["paginacao"] = {
            **page,
            "quantidadeDePaginas": max(1, -(-len(found) // page["itensPorPagina"])),
            "quantidadeTotalDeItens": len(found),
        }
        listed = [public(pix) for pix in found[first : first + page["itensPorPagina"]]]
        return json_response({"parametros": parameters, "pix": listed})

    async def _get_pix(self, request: Request, end_to_end_id: str) -> Response:
        return json_response(public(self.bank.read_pix(end_to_end_id)))

    async def _put_refund(self, request: Request, end_to_end_id: str, refund_id: str) -> Response:
        fault = self.bank.take_fault("refund")
        kind = fault["kind"] if fault else ""
        if fault is not None and kind == "500":
            await self._suffer(fault)
        _refuse_pattern(refund_id, pattern=schemas.REFUND_ID, path="devolucao.id", kind="PixDevolucaoInvalida")
        requested = _checked(request.json_object(), schema=schemas.REFUND_REQUESTED, path="devolucao", kind="PixDevolucaoInvalida")
        refund = self.bank.request_refund(end_to_end_id=end_to_end_id, refund_id=refund_id, requested=requested)
        self.bank.settle_refund_soon(
            end_to_end_id=end_to_end_id,
            refund_id=refund_id,
            fault=fault if kind in ("NAO_REALIZADO", "stuck") else None,
        )
        if fault is not None and kind == "timeout":
            await self._suffer(fault)
        return json_response(refund, status=201)

    async def _get_refund(self, request: Request, end_to_end_id: str, refund_id: str) -> Response:
        return json_response(self.bank.read_refund(end_to_end_id=end_to_end_id, refund_id=refund_id))

    # ── Webhook ──────────────────────────────────────────────────────────────────────────────────────────────────
    async def _put_webhook(self, request: Request, pix_key: str) -> Response:
        kind = "WebhookOperacaoInvalida"
        asked = _checked(request.json_object(), schema=schemas.WEBHOOK_REQUESTED, path="webhook", kind=kind)
        if pix_key != self.bank.pix_key:
            detail = "O parâmetro {chave} não corresponde a uma chave DICT pertencente a este usuário recebedor."
            raise Refused(kind, detail, [(detail, "chave", pix_key)])
        if urlsplit(asked["webhookUrl"]).hostname not in LOOPBACK_HOSTS:
            detail = "O sandbox só entrega avisos nesta máquina (loopback)."
            raise Refused(kind, detail, [(detail, "webhook.webhookUrl", asked["webhookUrl"])])
        return json_response(self.bank.set_webhook(asked["webhookUrl"]))

    async def _get_webhook(self, request: Request, pix_key: str) -> Response:
        self._refuse_no_webhook(pix_key)
        return json_response(self.bank.webhooks[pix_key])

    async def _delete_webhook(self, request: Request, pix_key: str) -> Response:
        self._refuse_no_webhook(pix_key)
        self.bank.drop_webhook()
        return Response(status=204)

    def _refuse_no_webhook(self, pix_key: str) -> None:
        if pix_key not in self.bank.webhooks:
            raise Refused("WebhookNaoEncontrado", "O webhook denotado pela chave não está estabelecido.")

    async def _suffer(self, fault: Fault | None) -> None:
        """Raise what a scripted fault asks: an error, or a wait that ends in the bank's own timeout."""
        if fault is None:
            return
        if fault["kind"].startswith("timeout"):
            await asyncio.sleep(float(fault.get("ms", TIMEOUT_MS)) / 1000)
            raise Refused("IndisponibilidadePorTempoEsgotado", "O serviço demorou além do esperado.")
        kind = "ServicoIndisponivel" if fault["kind"] == "503" else "ErroInternoDoServidor"
        raise Refused(kind, "Falha provocada no sandbox.")


def problem(refusal: Refused) -> Response:
    """RFC 7807, as the API writes it."""
    status = 504 if refusal.kind == "IndisponibilidadePorTempoEsgotado" else STATUS_BY_KIND.get(refusal.kind, 400)
    body: Record = {
        "type": PROBLEM_BASE + refusal.kind,
        "title": refusal.kind,
        "status": status,
        "detail": refusal.detail,
        "correlationId": secrets.token_hex(16),
    }
    if refusal.violations:
        body["violacoes"] = [{"razao": reason, "propriedade": name, "valor": value} for reason, name, value in refusal.violations]
    return Response(status=status, body=dump(body), content_type="application/problem+json")


def _client_name(request: Request) -> str:
    certificate = request.transport.get_extra_info("peercert") or {}
    subject = {name: value for pairs in certificate.get("subject", ()) for name, value in pairs}
    return str(subject.get("commonName", ""))


def _basic_credentials(header: str) -> tuple[bytes, bytes]:
    kind, _, value = header.partition(" ")
    if kind.lower() != "basic":
        return b"", b""
    try:
        user, _, secret = base64.b64decode(value, validate=True).partition(b":")
    except binascii.Error:
        return b"", b""
    return user, secret


def _refuse_pattern(value: str, *, pattern: str, path: str, kind: str) -> None:
    if not re.fullmatch(pattern, value, re.ASCII):
        detail = f"O campo {path} não respeita o schema: padrão {pattern}."
        raise Refused(kind, detail, [(detail, path, value)])


def _checked(body: Record, *, schema: schemas.Schema, path: str, kind: str) -> Record:
    violations = schemas.find_violations(body, schema=schema, path=path)
    if violations:
        raise Refused(kind, "A requisição não respeita o schema.", violations)
    return body


def _read_page(query: dict[str, str]) -> dict[str, int]:
    page: dict[str, int] = {}
    for name, default, least, most in (
        ("paginaAtual", 0, 0, 2**31 - 1),
        ("itensPorPagina", PAGE_SIZE_DEFAULT, 1, PAGE_SIZE_MAX),
    ):
        text = query.get(f"paginacao.{name}", str(default))
        if not re.fullmatch(r"-?\d{1,10}", text, re.ASCII) or not least <= int(text) <= most:
            detail = f"O parâmetro paginacao.{name} deve estar entre {least} e {most}."
            raise Refused("PixConsultaInvalida", detail, [(detail, f"paginacao.{name}", text)])
        page[name] = int(text)
    return page


def _read_period(query: dict[str, str]) -> tuple[Any, Any]:
    moments = []
    for name in ("inicio", "fim"):
        try:
            moments.append(parse_moment(query.get(name, "").replace(" ", "+")))
        except ValueError:
            detail = f"O parâmetro {name} é obrigatório e respeita a RFC 3339."
            raise Refused("PixConsultaInvalida", detail, [(detail, name, query.get(name, ""))]) from None
    if moments[1] < moments[0]:
        detail = "O timestamp fim é anterior ao timestamp inicio."
        raise Refused("PixConsultaInvalida", detail, [(detail, "fim", query["fim"])])
    if "cpf" in query and "cnpj" in query:
        detail = "Ambos os parâmetros cpf e cnpj estão preenchidos."
        raise Refused("PixConsultaInvalida", detail, [(detail, "cpf", query["cpf"])])
    return moments[0], moments[1]


def _matches(pix: Record, query: dict[str, str]) -> bool:
    payer = pix.get("_payer", {})
    return (
        ("txid" not in query or pix.get("txid") == query["txid"])
        and ("txIdPresente" not in query or ("txid" in pix) == (query["txIdPresente"] == "true"))
        and ("devolucaoPresente" not in query or bool(pix.get("devolucoes")) == (query["devolucaoPresente"] == "true"))
        and ("cpf" not in query or payer.get("cpf") == query["cpf"])
        and ("cnpj" not in query or payer.get("cnpj") == query["cnpj"])
    )
