"""The national data environment (ADN): documents by NSU, events of a note, and the cities' parameters."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from tokia.sandbox.asgi import Json, Request, Response, json_response
from tokia.sandbox.fiscal_books import APPLICATION, PRODUCTION, Fault, FiscalBooks, Note
from tokia.sandbox.fiscal_faults import Breaker

EVENT_NAMES = {"101101": "CANCELAMENTO", "105102": "CANCELAMENTO_POR_SUBSTITUICAO"}
SERVICE = r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}\.[0-9]{3}"  # cTribNac and three digits of the city: 01.03.01.000
YES, NO = 1, 0


@dataclass
class Adn:
    """`/contribuintes/…` and `/parametrizacao/…`."""

    books: FiscalBooks
    breaker: Breaker

    async def serve(self, request: Request, *, path: str, environment: int, caller: str) -> Response | None:
        operation = "distribution" if path.startswith("/contribuintes/") else "parameters"

        async def work() -> Response:
            if request.method != "GET":
                return json_response({"mensagem": "Método não permitido"}, status=405)
            if operation == "parameters":
                return self._tell_parameters(path.removeprefix("/parametrizacao"))
            return self._distribute(request, path.removeprefix("/contribuintes"), environment=environment, caller=caller)

        def reject(fault: Fault) -> Response:
            return json_response({"mensagem": str(fault.get("text", "Recusada."))}, status=int(fault.get("status", 400)))

        fault = next(iter(self.books.faults.get(operation, [])), None)
        response = await self.breaker.run(request, operation=operation, work=work, reject=reject)
        if fault is not None and fault["kind"] == "garbage" and response is not None:
            return Response(status=response.status, body=b"{" + response.body[:30])
        return response

    # ── Distribution ─────────────────────────────────────────────────────────────────────────────────────────────────
    def _distribute(self, request: Request, path: str, *, environment: int, caller: str) -> Response:
        match = re.fullmatch(r"/DFe/([0-9]{1,15})", path)
        if match:
            return self._read_lot(
                int(match[1]), is_lot=request.query.get("lote", "true").lower() == "true", scope=(environment, caller)
            )
        match = re.fullmatch(r"/NFSe/([0-9A-Z]{50})/Eventos", path)
        if match:
            found = [
                entry
                for entry in self._visible(environment, caller)
                if entry["access_key"] == match[1] and entry["kind"] == "EVENTO"
            ]
            return self._lot(found, environment=environment)
        return self._lot([], environment=environment)

    def _read_lot(self, after: int, *, is_lot: bool, scope: tuple[int, str]) -> Response:
        """Everything that came after an NSU, a page of it; or, with lote=false, the document with that NSU."""
        seen = self._visible(*scope)
        found = [entry for entry in seen if (entry["nsu"] > after if is_lot else entry["nsu"] == after)]
        return self._lot(found[: int(self.books.settings["page_size"])], environment=scope[0])

    def _visible(self, environment: int, caller: str) -> list[Note]:
        return [
            entry
            for entry in self.books.shelf
            if entry["environment"] == environment and any(actor[:8] == caller[:8] for actor in entry["actors"])
        ]

    def _lot(self, entries: list[Note], *, environment: int) -> Response:
        """An empty one is 404 with the same body: there is nothing more."""
        body = {
            "StatusProcessamento": "DOCUMENTOS_LOCALIZADOS" if entries else "NENHUM_DOCUMENTO_LOCALIZADO",
            "LoteDFe": [
                {
                    "NSU": entry["nsu"],
                    "ChaveAcesso": entry["access_key"],
                    "TipoDocumento": entry["kind"],
                    "TipoEvento": EVENT_NAMES.get(entry["event_type"]),
                    "ArquivoXml": entry["xml"],
                    "DataHoraGeracao": entry["at"],
                }
                for entry in entries
            ],
            "Alertas": [],
            "Erros": [] if entries else [{"Codigo": "E2220", "Descricao": "Nenhum documento localizado."}],
            "TipoAmbiente": "PRODUCAO" if environment == PRODUCTION else "HOMOLOGACAO",
            "VersaoAplicativo": APPLICATION,
            "DataHoraProcessamento": self.books.now().isoformat(),
        }
        return json_response(body, status=200 if entries else 404)

    # ── Parameters of cities ─────────────────────────────────────────────────────────────────────────────────────────
    def _tell_parameters(self, path: str) -> Response:
        match = re.fullmatch(r"/([0-9]{7})/convenio", path)
        if match:
            return self._tell_agreement(match[1])
        match = re.fullmatch(rf"/([0-9]{{7}})/({SERVICE})/([0-9T:.Z-]{{10,30}})/aliquota", path)
        if match:
            return self._tell_rate(match[1], service=match[2], day=match[3])
        return json_response({"mensagem": "Parâmetros inválidos."}, status=400)

    def _tell_agreement(self, code: str) -> Response:
        city = self.books.cities.get(code)
        if city is None:
            return json_response({"mensagem": "Convênio não encontrado para o município.", "parametrosConvenio": None}, status=404)
        terms = {
            "tipoConvenioDeserializationSetter": 1,
            "aderenteAmbienteNacional": YES if city.in_environment and city.is_active else NO,
            "aderenteEmissorNacional": YES if city.uses_emitter and city.is_active else NO,
            "situacaoEmissaoPadraoContribuintesRFB": YES,
            "aderenteMAN": NO,
            "permiteAproveitametoDeCreditos": False,
        }
        return json_response({"mensagem": "Parâmetros do convênio recuperados com sucesso.", "parametrosConvenio": terms})

    def _tell_rate(self, code: str, *, service: str, day: str) -> Response:
        city = self.books.cities.get(code)
        try:
            dt.date.fromisoformat(day[:10])
        except ValueError:
            return json_response({"mensagem": "Competência inválida.", "aliquotas": None}, status=400)
        if city is None or not city.in_environment:
            return json_response({"mensagem": "Nenhuma alíquota encontrada.", "aliquotas": None}, status=404)
        rate: dict[str, Json] = {
            "Incidencia": "Município do prestador",
            "Aliq": float(city.iss_percent),  # JSON's number, as theirs
            "DtIni": "2026-01-01T00:00:00",
            "DtFim": None,
        }
        return json_response({"mensagem": "Alíquotas recuperadas com sucesso.", "aliquotas": {service: [rate]}})
