"""The fiscal sandbox's own door for tests and people, on the plain HTTP port.

| `/fiscal/…` | body, or what it tells |
|---|---|
| GET `__ledger` | `notes` (newest last, without XML), `events`, `focus`, `calls`, `pending` faults |
| GET `__state` | `settings`, `cities`, `known` faults and operations, `now` |
| POST `__script` | `{"operation": "emit", "faults": ["lost", {"kind": "timeout", "ms": 2000}], "times": 1}` |
| DELETE `__script` | no faults any more |
| POST `__settings` | any of `fiscal_books.SETTINGS`: dialect, offset_seconds, unknown_tax_ids, alerts, focus_ms, focus_hook… |
| POST `__city/<IBGE>` | `{"uses_emitter": false, "iss_percent": "5.00", "im": "required", "cancel_days": 1, …}` |
| POST `__cancel/<key>` | `{"code": "1", "reason": "…"}`: cancelled at the national portal, by a person |
| GET `__xml/<key>`, `__event/<key>/<type>` | the XML |
| POST `__reset` | everything forgotten; certificates stay |
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tokia.sandbox.asgi import Json, Request, Response, json_response
from tokia.sandbox.fiscal_books import FAULTS_BY_OPERATION, FiscalBooks, Note
from tokia.sandbox.fiscal_cities import describe
from tokia.sandbox.fiscal_xml import unpack
from tokia.sandbox.focus import Focus
from tokia.sandbox.sefin import Sefin

TIMES_MAX = 10_000
ELSEWHERE_REASON = "Cancelada no portal nacional da NFS-e"


@dataclass
class FiscalControl:
    books: FiscalBooks
    sefin: Sefin
    focus: Focus

    def serve(self, request: Request, path: str) -> Response:
        """`path` is what follows `/fiscal/`. Raises ValueError, KeyError and TypeError for bodies that make no sense."""
        verb, _, rest = path.strip("/").partition("/")
        handlers = {
            ("GET", "__ledger"): self._ledger,
            ("GET", "__state"): self._state,
            ("GET", "__xml"): lambda _, key: self._xml(self.books.notes[key]["xml"]),
            ("GET", "__event"): self._event,
            ("POST", "__script"): self._script,
            ("DELETE", "__script"): self._unscript,
            ("POST", "__settings"): self._set,
            ("POST", "__city"): self._set_city,
            ("POST", "__cancel"): self._cancel,
            ("POST", "__reset"): self._reset,
        }
        handler = handlers.get((request.method, verb))
        if handler is None:
            return json_response({"error": f"no such control: {request.method} {verb}"}, status=404)
        return handler(request, rest)

    def cancel_elsewhere(self, key: str, *, code: str, reason: str) -> Note:
        """As a person does it at the national portal. Raises ValueError for a note that is not live."""
        note = self.books.notes[key]
        if note["status"] != "issued":
            raise ValueError(f"the note is {note['status']}")
        if code not in ("1", "2", "9") or not 15 <= len(reason) <= 255:
            raise ValueError("code 1, 2 or 9; reason of 15 to 255 characters")
        facts = {"xDesc": "Cancelamento de NFS-e", "cMotivo": code, "xMotivo": reason}
        return self.sefin.add_event(note, event_type="101101", facts=facts, is_elsewhere=True)

    def _ledger(self, request: Request, rest: str) -> Response:
        return json_response(
            {
                "notes": [_bare(note) for note in self.books.notes.values()],
                "events": [_bare(event) for event in self.books.events.values()],
                "focus": self.focus.ledger(),
                "calls": list(self.books.calls),
                "pending": self._pending(),
            }
        )

    def _state(self, request: Request, rest: str) -> Response:
        return json_response(
            {
                "now": self.books.now().isoformat(),
                "settings": self.books.settings,
                "cities": {code: describe(city) for code, city in self.books.cities.items()},
                "known": FAULTS_BY_OPERATION,
                "pending": self._pending(),
            }
        )

    def _pending(self) -> Json:
        return {operation: queue for operation, queue in self.books.faults.items() if queue}

    def _xml(self, packed: str) -> Response:
        return Response(body=unpack(packed), content_type="application/xml; charset=utf-8")

    def _event(self, request: Request, rest: str) -> Response:
        match = re.fullmatch(r"([0-9A-Z]{50})/([0-9]{6})", rest)
        if match is None:
            raise ValueError("<key>/<type>")
        return self._xml(self.books.events[match[1], match[2], 1]["xml"])

    def _script(self, request: Request, rest: str) -> Response:
        body = request.json_object()
        faults, times = body.get("faults", []), int(body.get("times", 1))
        if not 0 <= times <= TIMES_MAX:
            raise ValueError(f"times: 0 to {TIMES_MAX}")
        self.books.script(operation=str(body["operation"]), faults=faults if isinstance(faults, list) else [faults], times=times)
        return json_response({"pending": self._pending()})

    def _unscript(self, request: Request, rest: str) -> Response:
        self.books.clear_faults()
        return json_response({"pending": {}})

    def _set(self, request: Request, rest: str) -> Response:
        self.books.set(request.json_object())
        return json_response(self.books.settings)

    def _set_city(self, request: Request, rest: str) -> Response:
        if not re.fullmatch(r"[0-9]{7}", rest):
            raise ValueError("/fiscal/__city/<seven digits>")
        return json_response(describe(self.books.set_city(rest, request.json_object())))

    def _cancel(self, request: Request, rest: str) -> Response:
        body = request.json_object()
        event = self.cancel_elsewhere(rest, code=str(body.get("code", "9")), reason=str(body.get("reason", ELSEWHERE_REASON)))
        return json_response(_bare(event))

    def _reset(self, request: Request, rest: str) -> Response:
        self.books.forget_everything()
        self.focus.forget_everything()
        return json_response({"reset": True})


def _bare(row: Note) -> Json:
    return {name: value for name, value in row.items() if name != "xml"}
