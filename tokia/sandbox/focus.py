"""Focus NFe's API as an intermediary offers it: JSON in, a note some time later, webhooks that wake the customer up.

`POST|GET|DELETE /v2/nfsen` (national) and `/v2/nfse` (a city's own), `/v2/hooks`, files by path. The token is the user of HTTP
Basic; the one that ends in `-producao` issues in production. A ref is used once, unless its note was refused.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import re
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import httpx

from tokia.sandbox.asgi import BadJson, Json, Request, Response, dump, json_response
from tokia.sandbox.fiscal_books import PRODUCTION, RESTRICTED, Fault, FiscalBooks
from tokia.sandbox.fiscal_faults import Breaker
from tokia.sandbox.fiscal_xml import find_schema_errors, pack, unpack
from tokia.sandbox.focus_dps import Invalid, build_city_note, build_dps, check_required, draw_pdf
from tokia.sandbox.sefin import Sefin
from tokia.sandbox.sefin_rules import Declared, find_problems, is_past

REF = r"[A-Za-z0-9]{1,60}"
RETRY_SECONDS = (0.2, 0.5, 1.0)  # theirs: 1 minute to 24 hours
HOOK_TIMEOUT_SECONDS = 5.0
REASON_MIN, REASON_MAX = 15, 255

Doc = dict[str, Any]


@dataclass
class Focus:
    books: FiscalBooks
    sefin: Sefin
    breaker: Breaker
    docs: dict[str, Doc] = field(default_factory=dict)  # by "resource/ref"
    deliveries: deque[dict[str, Json]] = field(default_factory=lambda: deque(maxlen=500))
    _asked: dict[str, deque[float]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _client: httpx.AsyncClient | None = None

    def open(self) -> None:
        self.docs = dict(self.books.store.read_all("focus"))
        self._client = httpx.AsyncClient(timeout=HOOK_TIMEOUT_SECONDS, trust_env=False)
        for doc in self.docs.values():
            if doc["status"] == "processando_autorizacao":
                self._spawn(self._process(doc))

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._client is not None:
            await self._client.aclose()

    def forget_everything(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        self.books.store.clear("focus")
        for memory in (self.docs, self.deliveries, self._asked):
            memory.clear()

    def ledger(self) -> Json:
        docs = [{name: value for name, value in doc.items() if name not in ("xml", "body")} for doc in self.docs.values()]
        return {"docs": docs, "deliveries": list(self.deliveries)}

    # ── The door ─────────────────────────────────────────────────────────────────────────────────────────────────────
    async def serve(self, request: Request) -> Response | None:
        """None where the connection was cut."""
        path = request.path.removeprefix("/focus")
        match = re.fullmatch(rf"/arquivos/(nfsen|nfse)/({REF})(-can)?\.(xml|pdf)", path)
        if match:
            return self._file(f"{match[1]}/{match[2]}", kind="cancel" if match[3] else match[4])
        environment = self._environment_of(request)
        if environment is None:
            headers = {"www-authenticate": 'Basic realm="Application"'}
            return Response(status=401, body=b"HTTP Basic: Access denied.\n", content_type="text/plain", headers=headers)
        if self._is_too_fast(request):
            body = {"codigo": "limite_excedido", "mensagem": "Limite de requisições por minuto da API excedido, tente mais tarde"}
            return json_response(body, status=429, headers={"retry-after": "60", "rate-limit-remaining": "0"})
        if path == "/v2/hooks":
            return self._hook(request)
        match = re.fullmatch(rf"/v2/(nfsen|nfse)(?:/({REF}))?", path)
        ref = (match[2] or request.query.get("ref", "")) if match else ""
        operation = {"POST": "focus_submit", "GET": "focus_find", "DELETE": "focus_cancel"}.get(request.method)
        if match is None or operation is None:
            return _problem(404, "nao_encontrado", "Recurso não encontrado")
        if not re.fullmatch(REF, ref):
            return _problem(400, "requisicao_invalida", "A referência (ref) aceita somente letras e números")
        head = next(iter(self.books.faults.get(operation, [])), None)

        async def work() -> Response:
            if request.method == "POST":
                return self._submit(request, resource=match[1], ref=ref, environment=environment, fault=head)
            doc = self.docs.get(f"{match[1]}/{ref}")
            if doc is None:
                return _problem(404, "nao_encontrado", "Nota fiscal não encontrada")
            return self._cancel(request, doc) if request.method == "DELETE" else json_response(describe(doc, _host(request)))

        def reject(fault: Fault) -> Response:
            return _problem(
                int(fault.get("status", 422)), str(fault.get("code", "requisicao_invalida")), str(fault.get("text", ""))
            )

        response = await self.breaker.run(request, operation=operation, work=work, reject=reject)
        if head is not None and head["kind"] == "garbage" and response is not None:
            return Response(status=response.status, body=b"{" + response.body[:20])
        if response is not None:
            self.books.log(method=request.method, path=request.path, ref=ref, status=response.status)
        return response

    def _environment_of(self, request: Request) -> int | None:
        kind, _, text = request.headers.get("authorization", "").partition(" ")
        try:
            user = base64.b64decode(text, validate=True).partition(b":")[0] if kind.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            return None
        token = str(self.books.settings["focus_token"]).encode()
        if hmac.compare_digest(user, token):
            return RESTRICTED
        return PRODUCTION if hmac.compare_digest(user, token + b"-producao") else None

    def _is_too_fast(self, request: Request) -> bool:
        asked = self._asked.setdefault(request.headers["authorization"], deque())
        now = time.monotonic()
        while asked and asked[0] < now - 60:
            asked.popleft()
        asked.append(now)
        return len(asked) > int(self.books.settings["focus_rate"])

    # ── Notes ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _submit(self, request: Request, *, resource: str, ref: str, environment: int, fault: Fault | None) -> Response:
        known = self.docs.get(f"{resource}/{ref}")
        if known is not None and known["status"] == "processando_autorizacao":
            return _problem(422, "em_processamento", "A nota fiscal já está em processamento")
        if known is not None and known["status"] != "erro_autorizacao":
            return _problem(422, "already_processed", "A nota fiscal já foi processada: consulte-a pela referência")
        try:
            body = request.json_object()
            check_required(body, resource=resource)
        except BadJson as error:
            return _problem(400, "requisicao_invalida", f"O corpo não é JSON: {error}")
        except Invalid as error:
            return _problem(422, "requisicao_invalida", f"Campo obrigatório não informado: {error}")
        doc: Doc = {
            "resource": resource,
            "ref": ref,
            "environment": environment,
            "status": "processando_autorizacao",
            "cnpj_prestador": body["cnpj_prestador"] if resource == "nfsen" else body["prestador"]["cnpj"],
            "body": body,
            "sent": (known["sent"] if known else 0) + 1,
            "refusal": fault if fault is not None and fault["kind"] == "erro_autorizacao" else None,
        }
        self._keep(doc)
        self._spawn(self._process(doc))
        return json_response(describe(doc, _host(request)), status=202)

    async def _process(self, doc: Doc) -> None:
        await asyncio.sleep(float(self.books.settings["focus_ms"]) / 1000)
        errors: list[Json] = []
        try:
            refusal = doc.pop("refusal", None)
            if refusal:
                errors = [_error(str(refusal.get("code", "E9999")), str(refusal.get("text", "Recusada pelo roteiro do teste.")))]
            else:
                errors = self._issue_national(doc) if doc["resource"] == "nfsen" else self._issue_in_city(doc)
        except Invalid as error:
            errors = [_error("E1235", f"Falha no esquema XML do DF-e. {error}")]
        doc["status"], doc["errors"] = ("erro_autorizacao", errors) if errors else ("autorizado", [])
        self._keep(doc)
        await self._notify(doc)

    def _issue_national(self, doc: Doc) -> list[Json]:
        root = build_dps(doc["body"], environment=doc["environment"])
        schema_errors = find_schema_errors(root, "DPS")
        if schema_errors:
            return [_error("E1235", f"Falha no esquema XML do DF-e. {schema_errors[0]}")]
        dps = Declared(inf=root[0], environment=doc["environment"], books=self.books)
        problems = find_problems(dps)
        if problems:
            return [_error(code, text) for code, text, _ in problems]
        note = self.sefin.issue(root, dps=dps, caller="focus")
        doc |= {"access_key": note["access_key"], "number": str(note["number"]), "issued_at": note["issued_at"], "xml": note["xml"]}
        doc["code"] = note["access_key"]
        return []

    def _issue_in_city(self, doc: Doc) -> list[Json]:
        body = doc["body"]
        city = self.books.cities.get(str(body["prestador"]["codigo_municipio"]))
        if city is None:
            return [_error("E10", "Município não atendido.")]
        taken = sum(1 for other in self.docs.values() if other["resource"] == "nfse" and other.get("number"))
        now, code = self.books.now(), secrets.token_hex(4).upper()
        xml = build_city_note(body, number=taken + 1, code=code, at=now)
        doc |= {"number": str(taken + 1), "code": code, "issued_at": now.isoformat(), "xml": pack(xml)}
        return []

    def _cancel(self, request: Request, doc: Doc) -> Response:
        try:
            reason = str(request.json_object().get("justificativa", ""))
        except BadJson:
            reason = ""
        if not REASON_MIN <= len(reason) <= REASON_MAX:
            return _problem(422, "requisicao_invalida", f"justificativa: de {REASON_MIN} a {REASON_MAX} caracteres")
        if doc["status"] == "cancelado":
            return _problem(422, "nfe_cancelada", "A nota fiscal já está cancelada")
        if doc["status"] != "autorizado":
            return _problem(422, "nfe_nao_autorizada", "A nota fiscal não está autorizada e não pode ser cancelada")
        note = self.books.notes.get(doc.get("access_key", ""))
        if note is not None:
            city = self.books.cities.get(note["city"])
            if city and is_past(note, days=city.cancel_days, now=self.books.now()):
                errors = [_error("E0822", "O prazo para cancelamento da NFS-e expirou.")]
                return json_response({"status": "erro_cancelamento", "erros": errors})
            if note["status"] == "issued":
                facts = {"xDesc": "Cancelamento de NFS-e", "cMotivo": "9", "xMotivo": reason}
                self.sefin.add_event(note, event_type="101101", facts=facts)
        doc["status"] = "cancelado"
        self._keep(doc)
        self._spawn(self._notify(doc))
        return json_response(describe(doc, _host(request)))

    def _file(self, key: str, *, kind: str) -> Response:
        doc = self.docs.get(key)
        if doc is None or "xml" not in doc:
            return Response(status=404, body=b"<h1>404</h1>", content_type="text/html")
        event = self.books.events.get((doc.get("access_key", ""), "101101", 1))
        if kind == "cancel":
            return Response(
                body=unpack(event["xml"]) if event else b"", status=200 if event else 404, content_type="application/xml"
            )
        if kind == "xml":
            return Response(body=unpack(doc["xml"]), content_type="application/xml")
        title = "NFS-e CANCELADA" if doc["status"] == "cancelado" else "NFS-e"
        lines = [f"{title} (sandbox)", f"Numero {doc['number']}", f"Prestador {doc['cnpj_prestador']}", f"Codigo {doc['code']}"]
        return Response(body=draw_pdf(lines), content_type="application/pdf")

    # ── Webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _hook(self, request: Request) -> Response:
        """One is kept; the control's `__settings` sets the same."""
        if request.method == "POST":
            asked = request.json_object()
            hook = {"url": str(asked["url"]), "authorization": str(asked.get("authorization", ""))}
            self.books.set({"focus_hook": hook})
            return json_response({"id": "sandbox", "event": asked.get("event", "nfsen"), **hook})
        hook = self.books.settings["focus_hook"]
        return json_response([{"id": "sandbox", "event": "nfsen", **hook}] if hook else [])

    async def _notify(self, doc: Doc) -> None:
        """Tell the customer; a wake-up, not a proof. Tried again a few times."""
        hook = self.books.settings["focus_hook"]
        if not hook or self._client is None:
            return
        fault = self.books.take_fault("focus_webhook")
        if fault is not None and fault["kind"] == "drop":
            return
        headers = {"content-type": "application/json"} | ({"authorization": hook["authorization"]} if hook["authorization"] else {})
        for _ in range(2 if fault else 1):
            for pause in (*RETRY_SECONDS, None):
                try:
                    answer = await self._client.post(hook["url"], content=dump(describe(doc, "")), headers=headers)
                    status: int | str = answer.status_code
                except (httpx.HTTPError, OSError) as error:
                    status = type(error).__name__
                self.deliveries.append({"ref": doc["ref"], "url": hook["url"], "status": status})
                if (isinstance(status, int) and status < 300) or pause is None:
                    break
                await asyncio.sleep(pause)

    def _keep(self, doc: Doc) -> None:
        key = f"{doc['resource']}/{doc['ref']}"
        self.docs[key] = doc
        self.books.store.put(room="focus", key=key, value=doc)

    def _spawn(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def describe(doc: Doc, host: str) -> Json:
    """A note as `GET` and the webhook tell it."""
    told: dict[str, Json] = {"cnpj_prestador": doc["cnpj_prestador"], "ref": doc["ref"], "status": doc["status"]}
    if doc["resource"] == "nfsen":
        told |= {"numero_dps": str(doc["body"]["numero_dps"]), "serie_dps": str(doc["body"]["serie_dps"])}
    if doc["status"] in ("autorizado", "cancelado"):
        path = f"/arquivos/{doc['resource']}/{doc['ref']}"
        told |= {
            "numero": doc["number"],
            "codigo_verificacao": doc["code"],
            "data_emissao": doc["issued_at"],
            "url": f"https://www.nfse.gov.br/ConsultaPublica/?tpc=1&chave={doc['code']}",
            "url_danfse": f"{host}/focus{path}.pdf",
            "caminho_xml_nota_fiscal": f"{path}.xml",
        }
        if doc["status"] == "cancelado" and doc["resource"] == "nfsen":
            told["caminho_xml_cancelamento"] = f"{path}-can.xml"
    if doc.get("errors"):
        told["erros"] = doc["errors"]
    return told


def _host(request: Request) -> str:
    return f"http://{request.headers.get('host', '127.0.0.1')}"


def _error(code: str, text: str) -> Json:
    return {"codigo": code, "mensagem": text, "correcao": None}


def _problem(status: int, code: str, text: str) -> Response:
    return json_response({"codigo": code, "mensagem": text}, status=status)
