"""Sefin Nacional as its published interface describes it (swagger v1 of 2026): DPS in, NFS-e out, queries, events. Mutual TLS.

The paths are those of the restricted environment (tpAmb 2); the same after `/producao` are production's (tpAmb 1). On this port are
the ADN's distribution and parameters, too (`sefin_adn`).

Codes of a DPS are annex I's. Those of events (but E0840) and of queries stand in annexes that were not at hand: they are ours,
and a client should go by the HTTP status there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

from cryptography import x509

from tokia.sandbox.asgi import BadJson, Json, Request, Response, json_response
from tokia.sandbox.fiscal_books import APPLICATION, DIALECTS, PRODUCTION, RESTRICTED, Fault, FiscalBooks, Note, new_key
from tokia.sandbox.fiscal_faults import Breaker
from tokia.sandbox.fiscal_signature import BadSignature, check_certificate, verify
from tokia.sandbox.fiscal_xml import BadPacking, BadXml, Element, find_schema_errors, has, pack, parse, text_of, unpack
from tokia.sandbox.sefin_adn import Adn
from tokia.sandbox.sefin_note import Seal, build_event, build_note, build_request
from tokia.sandbox.sefin_rules import Declared, Problem, find_problems, is_past

KEY = r"[0-9A-Z]{50}"
SCHEMA_ERRORS_TOLD = 5


class Refused(Exception):
    """`problems` as the tax office tells them, with an HTTP status."""

    def __init__(self, status: int, *problems: Problem, dps_id: str = "") -> None:
        super().__init__(problems)
        self.status, self.problems, self.dps_id = status, problems, dps_id


@dataclass
class Sefin:
    books: FiscalBooks
    seal: Seal
    breaker: Breaker
    adn: Adn

    async def serve(self, request: Request) -> None:
        """Answer one request of the fiscal port, whatever happens."""
        environment = RESTRICTED
        path = request.path
        if path.startswith("/producao/"):
            environment, path = PRODUCTION, path.removeprefix("/producao")
        try:
            caller = self._caller(request)
            response = await self._dispatch(request, path=path, environment=environment, caller=caller)
        except Refused as refusal:
            is_list = request.method == "POST" and path == "/SefinNacional/nfse"
            response = self._tell(refusal, environment=environment, is_list=is_list)
        if response is not None:
            self.books.log(method=request.method, path=request.path, status=response.status)
            await request.answer(response)

    def _caller(self, request: Request) -> str:
        """The CNPJ in the client's certificate. Raises Refused (403): it is none that an emitter may come with."""
        tls = request.transport.get_extra_info("ssl_object")
        certificate = x509.load_der_x509_certificate(cast(bytes, tls.getpeercert(binary_form=True)))
        try:
            return check_certificate(certificate, authority=self.seal.authority)
        except BadSignature as bad:
            code, text = {
                "E0715": ("E1201", "Certificado de Transmissão expirado ou com erro na cadeia de certificação."),
                "E0716": ("E1208", "Certificado de Transmissão sem CNPJ ou CPF."),
            }.get(bad.code, ("E1200", "Certificado de Transmissão inválido."))
            raise Refused(403, (code, text, bad.detail)) from None

    async def _dispatch(self, request: Request, *, path: str, environment: int, caller: str) -> Response | None:
        if path.startswith(("/contribuintes/", "/parametrizacao/")):
            return await self.adn.serve(request, path=path, environment=environment, caller=caller)
        routes: list[tuple[str, str, str, Any]] = [
            ("POST", "/nfse", "emit", self._emit),
            ("GET", f"/nfse/({KEY})", "read", self._read),
            ("GET", "/dps/(DPS[0-9A-Z]{42})", "find", self._find),
            ("HEAD", "/dps/(DPS[0-9A-Z]{42})", "find", self._find),
            ("POST", f"/nfse/({KEY})/eventos", "cancel", self._register_event),
            ("GET", f"/nfse/({KEY})/eventos/([0-9]{{6}})/([0-9]{{1,3}})", "read_event", self._read_event),
        ]
        for method, pattern, operation, handler in routes:
            match = re.fullmatch(f"/SefinNacional{pattern}", path)
            if match is None or request.method != method:
                continue

            is_list = operation == "emit"

            async def work(handler: Any = handler, groups: tuple[str, ...] = match.groups(), is_list: bool = is_list) -> Response:
                try:
                    answer: Response = handler(request, environment, caller, *groups)
                except Refused as refusal:  # a fault may lose a refusal, too
                    answer = self._tell(refusal, environment=environment, is_list=is_list)
                return answer

            def reject(fault: Fault, is_list: bool = is_list) -> Response:
                problem = (str(fault.get("code", "E9999")), str(fault.get("text", "Recusada pelo roteiro do teste.")), "")
                return self._tell(Refused(int(fault.get("status", 400)), problem), environment=environment, is_list=is_list)

            fault = next(iter(self.books.faults.get(operation, [])), None)
            response = await self.breaker.run(request, operation=operation, work=work, reject=reject)
            is_garbage = fault is not None and fault["kind"] == "garbage"
            return _spoil(response) if is_garbage and response is not None else response
        raise Refused(404, ("E0404", "Recurso não encontrado.", f"{request.method} {request.path}"))

    # ── DPS and NFS-e ────────────────────────────────────────────────────────────────────────────────────────────────
    def _emit(self, request: Request, environment: int, caller: str) -> Response:
        xml = _read_field(request, "dpsXmlGZipB64")
        root = self._parse(xml, kind="DPS")
        inf = next(iter(root))
        dps = Declared(inf=inf, environment=environment, books=self.books)
        dps_id = str(inf.get("Id"))
        self._check_signature(root, signed_name="infDPS", tax_id=dps.tax_id, dps_id=dps_id)
        problems = find_problems(dps)
        if problems:
            raise Refused(400, *problems, dps_id=dps_id)
        note = self.issue(root, dps=dps, caller=caller)
        alerts = [*self.books.settings["alerts"]]
        if not dps.has("IBSCBS") and note["issued_at"][:10] >= self.books.settings["ibscbs_required_on"]:
            alerts.append({"codigo": "A0001", "descricao": "O grupo IBSCBS não foi informado na DPS.", "complemento": ""})
        body = {"idDps": dps_id, "chaveAcesso": note["access_key"], "nfseXmlGZipB64": note["xml"]}
        return self._answer(body | ({"alertas": alerts} if alerts else {}), environment=environment, status=201)

    def issue(self, root: Element, *, dps: Declared, caller: str) -> Note:
        now = self.books.now()
        number = self.books.next_number(environment=dps.environment, tax_id=dps.tax_id)
        key = new_key(city=dps.text("cLocEmi"), tax_id=dps.tax_id, number=number, month=f"{now:%y%m}")
        xml = build_note(
            root=root, dps=dps, access_key=key, number=number, document=self.books.next_document(), at=now, seal=self.seal
        )
        note = {
            "access_key": key,
            "dps_id": dps.inf.get("Id"),
            "environment": dps.environment,
            "number": number,
            "tax_id": dps.tax_id,
            "taker_tax_id": dps.taker,
            "taker_name": dps.text("toma/xNome"),
            "city": dps.text("cLocEmi"),
            "place": dps.text("serv/locPrest/cLocPrestacao"),
            "service_code": dps.text("serv/cServ/cTribNac"),
            "description": dps.text("serv/cServ/xDescServ"),
            "competence_on": dps.text("dCompet"),
            "amount": dps.text("valores/vServPrest/vServ"),
            "issued_at": now.isoformat(),
            "sent_by": caller,
            "status": "issued",
            "replaces": dps.text("subst/chSubstda"),
            "xml": pack(xml),
        }
        self.books.add_note(note)
        if note["replaces"]:
            facts = {
                "xDesc": "Cancelamento de NFS-e por Substituição",
                "cMotivo": dps.text("subst/cMotivo"),
                "xMotivo": dps.text("subst/xMotivo"),
                "chSubstituta": key,
            }
            self.add_event(self.books.notes[note["replaces"]], event_type="105102", facts=facts)
        return note

    def _read(self, request: Request, environment: int, caller: str, key: str) -> Response:
        note = self._note_of(key, environment=environment, caller=caller)
        return self._answer({"chaveAcesso": key, "nfseXmlGZipB64": note["xml"]}, environment=environment)

    def _find(self, request: Request, environment: int, caller: str, dps_id: str) -> Response:
        note = self.books.find_note(environment=environment, dps_id=dps_id)
        if note is None or not is_actor(note, caller):
            text = "Não foi gerada uma NFS-e com o identificador de DPS informado."
            raise Refused(404, ("E2214", text, dps_id))
        return self._answer({"idDps": dps_id, "chaveAcesso": note["access_key"]}, environment=environment)

    def _note_of(self, key: str, *, environment: int, caller: str) -> Note:
        note = self.books.notes.get(key)
        if note is None or note["environment"] != environment:
            raise Refused(404, ("E2220", "Chave de acesso não encontrada.", key))
        if not is_actor(note, caller):
            raise Refused(403, ("E2221", "Consulta desta NFS-e não é permitida para este usuário.", ""))
        return note

    # ── Events ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _register_event(self, request: Request, environment: int, caller: str, key: str) -> Response:
        root = self._parse(_read_field(request, "pedidoRegistroEventoXmlGZipB64"), kind="pedRegEvento")
        inf = next(iter(root))
        author = text_of(inf, "CNPJAutor") or text_of(inf, "CPFAutor")
        self._check_signature(root, signed_name="infPedReg", tax_id=author, dps_id="")
        note = self._note_of(key, environment=environment, caller=caller)
        if text_of(inf, "tpAmb") != str(environment):
            raise Refused(400, ("E0006", "Ambiente informado diverge do ambiente de recebimento.", "tpAmb"))
        if text_of(inf, "chNFSe") != key or inf.get("Id") != f"PRE{key}101101":
            raise Refused(400, ("E0802", "A chave de acesso ou o identificador do pedido não correspondem à NFS-e.", "infPedReg"))
        if not has(inf, "e101101"):
            raise Refused(400, ("E0804", "Tipo de evento não permitido ao emitente nesta API.", ""))
        if note["tax_id"][:8] != author[:8]:
            raise Refused(400, ("E0806", "O autor do evento de cancelamento deve ser o emitente da NFS-e.", author))
        if note["status"] != "issued":
            raise Refused(400, ("E0840", "O evento de cancelamento já está vinculado à NFS-e.", note["status"]))
        city = self.books.cities.get(note["city"])
        if city is not None and is_past(note, days=city.cancel_days, now=self.books.now()):
            raise Refused(400, ("E0822", "O prazo para cancelamento da NFS-e, conforme o município emissor, expirou.", city.code))
        event = self._keep_event(note, request_xml=root, event_type="101101", is_elsewhere=False)
        return self._answer({"eventoXmlGZipB64": event["xml"]}, environment=environment, status=201)

    def add_event(self, note: Note, *, event_type: str, facts: dict[str, str], is_elsewhere: bool = False) -> Note:
        """An event that the issuer's software did not ask for: Sefin's own, or one made at the national portal."""
        request_xml = build_request(
            access_key=note["access_key"],
            tax_id=note["tax_id"],
            environment=note["environment"],
            event_type=event_type,
            facts=facts,
            at=self.books.now(),
        )
        return self._keep_event(note, request_xml=request_xml, event_type=event_type, is_elsewhere=is_elsewhere)

    def _keep_event(self, note: Note, *, request_xml: Element, event_type: str, is_elsewhere: bool) -> Note:
        now, key = self.books.now(), note["access_key"]
        xml = build_event(
            request=request_xml, access_key=key, event_type=event_type, document=self.books.next_document(), at=now, seal=self.seal
        )
        detail = request_xml[0].find(f"{{*}}e{event_type}")
        event = {
            "access_key": key,
            "type": event_type,
            "sequence": 1,
            "at": now.isoformat(),
            "code": text_of(detail, "cMotivo"),
            "reason": text_of(detail, "xMotivo"),
            "is_elsewhere": is_elsewhere,
            "xml": pack(xml),
        }
        self.books.add_event(event)
        return event

    def _read_event(self, request: Request, environment: int, caller: str, key: str, event_type: str, sequence: str) -> Response:
        self._note_of(key, environment=environment, caller=caller)
        event = self.books.events.get((key, event_type, int(sequence)))
        if event is None:
            raise Refused(404, ("E2230", "Nenhum evento encontrado para a NFS-e.", f"{event_type}/{sequence}"))
        return self._answer({"eventoXmlGZipB64": event["xml"]}, environment=environment)

    # ── What every message goes through ──────────────────────────────────────────────────────────────────────────────
    def _parse(self, xml: bytes, *, kind: str) -> Element:
        try:
            root = parse(xml)
        except BadXml as error:
            raise Refused(400, ("E1226", "Estrutura descompactada mal formada.", str(error)[:200])) from None
        dps_id = str(root[0].get("Id", "")) if kind == "DPS" and len(root) and isinstance(root[0].tag, str) else ""
        encoding = (root.getroottree().docinfo.encoding or "UTF-8").upper()
        if encoding not in ("UTF-8", "UTF8"):
            raise Refused(400, ("E1229", "XML não está utilizando codificação UTF8.", encoding), dps_id=dps_id)
        if any(element.prefix for element in root.iter("*")):
            text = "Uso de prefixo de namespace não permitido na área de dados descompactada."
            raise Refused(400, ("E1228", text, ""), dps_id=dps_id)
        errors = find_schema_errors(root, kind)
        if errors:
            text = "Falha no esquema XML do DF-e."
            raise Refused(400, *[("E1235", text, error) for error in errors[:SCHEMA_ERRORS_TOLD]], dps_id=dps_id)
        return root

    def _check_signature(self, root: Element, *, signed_name: str, tax_id: str, dps_id: str) -> None:
        try:
            signer = verify(root, signed_name=signed_name, authority=self.seal.authority)
        except BadSignature as bad:
            raise Refused(400, (bad.code, SIGNATURE_TEXTS[bad.code], bad.detail), dps_id=dps_id) from None
        if signer.tax_id[:8] != tax_id[:8]:  # any establishment of the same company may sign
            text = "A assinatura deve ser feita com o certificado digital do emitente da DPS."
            raise Refused(400, ("E0718", text, ""), dps_id=dps_id)

    # ── How answers are written ──────────────────────────────────────────────────────────────────────────────────────
    def _answer(self, body: dict[str, Json], *, environment: int, status: int = 200) -> Response:
        return json_response(self._frame(environment) | body, status=status)

    def _frame(self, environment: int) -> dict[str, Json]:
        moment = self.books.now().isoformat()
        return {"tipoAmbiente": environment, "versaoAplicativo": APPLICATION, "dataHoraProcessamento": moment}

    def _tell(self, refusal: Refused, *, environment: int, is_list: bool) -> Response:
        """Errors in the dialect that is set: the published one, or one of those in which the live system was heard."""
        dialect = self.books.settings["dialect"]
        assert dialect in DIALECTS
        names = ("codigo", "descricao", "complemento")
        if dialect != "swagger":
            names = ("Codigo", "Descricao", "Complemento")
        errors = [{name: text for name, text in zip(names, problem, strict=True) if text} for problem in refusal.problems]
        frame = self._frame(environment) | ({"idDPS": refusal.dps_id} if refusal.dps_id else {})
        if dialect == "list":
            return json_response(errors, status=refusal.status)
        if dialect == "array" or (is_list and dialect in ("swagger", "capitalised")):
            return json_response(frame | {"erros" if is_list and dialect != "array" else "erro": errors}, status=refusal.status)
        return json_response(frame | {"erro": errors[0]}, status=refusal.status)


SIGNATURE_TEXTS = {
    "E0714": "Arquivo enviado com erro na assinatura.",
    "E0715": "Certificado Digital da assinatura inválido.",
    "E0716": "Certificado Digital da assinatura fora do padrão estabelecido pelo projeto NFS-e.",
    "E0717": "A assinatura é obrigatória quando for enviado para o Web Service.",
}


def is_actor(note: Note, caller: str) -> bool:
    """Issuer and taker may ask, with a certificate of any of their establishments."""
    return any(tax_id and tax_id[:8] == caller[:8] for tax_id in (note["tax_id"], note["taker_tax_id"]))


def _read_field(request: Request, name: str) -> bytes:
    """The XML of the JSON body's only field. Raises Refused: 415 for anything but JSON, as the live system."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, ("E1299", "Unsupported Media Type", request.headers.get("content-type", "")))
    try:
        body = request.json_object()
    except BadJson as error:
        raise Refused(400, ("E1298", "O corpo não é um objeto JSON.", str(error)[:200])) from None
    try:
        return unpack(body.get(name))
    except BadPacking as error:
        raise Refused(400, ("E1225", "Falha na decodificação da base 64 da área de dados.", f"{name}: {error}"[:200])) from None


def _spoil(response: Response) -> Response:
    """A success that proves nothing: the key is of another note than the XML, or there is no JSON at all."""
    match = re.search(rb'("chaveAcesso":")([0-9A-Z]{50})', response.body)
    if match is None:
        return Response(status=response.status, body=b"<<<" + response.body[:40], content_type=response.content_type)
    wrong = match[2][:40] + bytes(ord("9") - (char - ord("0")) for char in match[2][40:])
    return Response(status=response.status, body=response.body.replace(match[2], wrong, 1), headers=response.headers)
