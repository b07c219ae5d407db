"""What the sandbox's tax office knows: notes, events, their distribution, cities, and the faults that a test asked for.

All of it is in the store and survives a restart. A note is a dict as the control's ledger shows it; its XML stands beside it.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from tokia.sandbox.asgi import Json
from tokia.sandbox.fiscal_cities import CITIES, City, amend, describe
from tokia.sandbox.store import Store

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
APPLICATION = "SefinSandbox_1.0"
PRODUCTION, RESTRICTED = 1, 2  # tpAmb
CALLS_KEPT = 2_000
# Operation → what may go wrong there. Each can also be a dict: {"kind": "timeout", "ms": 2000}.
_HTTP = ("timeout_before", "404", "429", "500", "502", "503", "reject")  # a 404 of a proxy's, in HTML
FAULTS_BY_OPERATION = {
    "connect": ("refuse",),
    "emit": ("lost", "timeout", "garbage", "half", *_HTTP),
    "find": ("lost", "timeout", "garbage", "half", *_HTTP),
    "read": ("lost", "timeout", "garbage", "half", *_HTTP),
    "cancel": ("lost", "timeout", "garbage", "half", *_HTTP),
    "read_event": ("lost", "timeout", "garbage", "half", *_HTTP),
    "distribution": ("lost", "timeout", "garbage", "half", *_HTTP),
    "parameters": ("lost", "timeout", "garbage", "half", *_HTTP),
    "focus_submit": ("lost", "timeout", "garbage", "half", *_HTTP, "erro_autorizacao"),
    "focus_find": ("lost", "timeout", "garbage", "half", *_HTTP),
    "focus_cancel": ("lost", "timeout", "garbage", "half", *_HTTP),
    "focus_webhook": ("drop", "duplicate"),
    "cep": ("timeout_before", "429", "500", "503"),
}
DIALECTS = ("swagger", "capitalised", "object", "array", "list")
SETTINGS: dict[str, Json] = {
    "dialect": "swagger",  # how errors are written: the published way, or one of the ways that the live system was heard
    "offset_seconds": 0,  # of the office's clock
    "unknown_tax_ids": [],  # takers whom the registries do not know (E0190, E0207)
    "alerts": [],  # codes that every 201 carries
    "ibscbs_required_on": "2026-12-01",  # from then on a note without the IBS/CBS group gets an alert
    "page_size": 50,  # documents of one distribution lot
    "focus_ms": 200,  # how long Focus works on a note
    "focus_token": "focus-sandbox",
    "focus_hook": {},  # {"url", "authorization"}
    "focus_rate": 100,  # requests per minute and token
}

Note = dict[str, Any]
Fault = dict[str, Any]


@dataclass
class FiscalBooks:
    """One tax office's memory."""

    store: Store
    names: dict[str, str] = field(default_factory=dict)  # issuers that the registry knows by name, by CNPJ
    defaults: dict[str, Json] = field(default_factory=lambda: dict(SETTINGS))
    notes: dict[str, Note] = field(default_factory=dict)  # by access key
    key_by_dps: dict[tuple[int, str], str] = field(default_factory=dict)
    events: dict[tuple[str, str, int], Note] = field(default_factory=dict)  # by access key, type, sequence
    shelf: list[Note] = field(default_factory=list)  # what is distributed: NSU − 1 is the index
    cities: dict[str, City] = field(default_factory=dict)
    settings: dict[str, Json] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    calls: deque[dict[str, Json]] = field(default_factory=lambda: deque(maxlen=CALLS_KEPT))

    def __post_init__(self) -> None:
        self.cities, self.settings = dict(CITIES), dict(self.defaults)
        for key, note in self.store.read_all("fiscal_note"):
            self.notes[key] = note
            self.key_by_dps[note["environment"], note["dps_id"]] = key
        for _, event in self.store.read_all("fiscal_event"):
            self.events[event["access_key"], event["type"], event["sequence"]] = event
        self.shelf = [entry for _, entry in self.store.read_all("fiscal_shelf")]
        for code, changes in self.store.read_all("fiscal_city"):
            self.cities[code] = City(**changes)
        for name, value in self.store.read_all("fiscal_setting"):
            self.settings[name] = value
        for operation, queue in self.store.read_all("fiscal_fault"):
            self.faults[operation] = queue

    # ── Time and numbers ─────────────────────────────────────────────────────────────────────────────────────────────
    def now(self) -> dt.datetime:
        return dt.datetime.now(SAO_PAULO) + dt.timedelta(seconds=float(self.settings["offset_seconds"]))

    def next_number(self, *, environment: int, tax_id: str) -> int:
        """nNFSe is sequential per issuer and environment."""
        taken = (note["number"] for note in self.notes.values() if note["tax_id"] == tax_id and note["environment"] == environment)
        return max(taken, default=0) + 1

    def next_document(self) -> int:
        """nDFSe: every note and event has one."""
        return len(self.notes) + len(self.events) + 1

    # ── Notes and events ─────────────────────────────────────────────────────────────────────────────────────────────
    def add_note(self, note: Note) -> None:
        key = note["access_key"]
        self.notes[key] = note
        self.key_by_dps[note["environment"], note["dps_id"]] = key
        self.store.put(room="fiscal_note", key=key, value=note)
        self._distribute(kind="NFSE", note=note, event_type="", xml=note["xml"])

    def add_event(self, event: Note) -> None:
        note = self.notes[event["access_key"]]
        self.events[event["access_key"], event["type"], event["sequence"]] = event
        self.store.put(room="fiscal_event", key=f"{event['access_key']}:{event['type']}:{event['sequence']}", value=event)
        status = {"101101": "cancelled", "105102": "replaced"}.get(event["type"])
        if status:
            note["status"] = status
            self.store.put(room="fiscal_note", key=note["access_key"], value=note)
        self._distribute(kind="EVENTO", note=note, event_type=event["type"], xml=event["xml"])

    def find_note(self, *, environment: int, dps_id: str) -> Note | None:
        key = self.key_by_dps.get((environment, dps_id))
        return self.notes[key] if key else None

    def events_of(self, access_key: str) -> list[Note]:
        return [event for (key, _, _), event in self.events.items() if key == access_key]

    def _distribute(self, *, kind: str, note: Note, event_type: str, xml: str) -> None:
        entry = {
            "nsu": len(self.shelf) + 1,
            "kind": kind,
            "event_type": event_type,
            "access_key": note["access_key"],
            "actors": [tax_id for tax_id in (note["tax_id"], note["taker_tax_id"]) if tax_id],
            "environment": note["environment"],
            "at": self.now().isoformat(),
            "xml": xml,
        }
        self.shelf.append(entry)
        self.store.put(room="fiscal_shelf", key=f"{entry['nsu']:012d}", value=entry)

    # ── Control ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def set_city(self, code: str, changes: dict[str, Json]) -> City:
        """Change a city, or bring a new one in (it needs name, state and iss_percent). Raises ValueError."""
        known = self.cities.get(code)
        if known is None and not {"name", "state", "iss_percent"} <= set(changes):
            raise ValueError(f"{code} is new: name, state and iss_percent")
        start = known or City(code, str(changes["name"]), str(changes["state"]), str(changes["iss_percent"]))
        self.cities[code] = amend(start, changes)
        self.store.put(room="fiscal_city", key=code, value=describe(self.cities[code]))
        return self.cities[code]

    def set(self, changes: dict[str, Json]) -> None:
        """Raises ValueError for a setting that there is not."""
        unknown = set(changes) - set(SETTINGS)
        if unknown or changes.get("dialect", "swagger") not in DIALECTS:
            raise ValueError(f"settings: {', '.join(SETTINGS)}; dialects: {', '.join(DIALECTS)}; not {changes}")
        for name, value in changes.items():
            self.settings[name] = value
            self.store.put(room="fiscal_setting", key=name, value=value)

    def script(self, *, operation: str, faults: list[Json], times: int) -> None:
        """Put faults at the end of an operation's queue, `times` times over. Raises ValueError."""
        known = FAULTS_BY_OPERATION.get(operation)
        specs = [{"kind": spec} if isinstance(spec, str) else dict(spec) for spec in faults]
        if known is None or any(spec.get("kind") not in known for spec in specs):
            raise ValueError(f"{FAULTS_BY_OPERATION}; not {operation}: {faults}")
        queue = self.faults.setdefault(operation, [])
        queue.extend(dict(spec) for _ in range(times) for spec in specs)
        self.store.put(room="fiscal_fault", key=operation, value=queue)

    def take_fault(self, operation: str) -> Fault | None:
        queue = self.faults.get(operation)
        if not queue:
            return None
        fault = queue.pop(0)
        self.store.put(room="fiscal_fault", key=operation, value=queue)
        return fault

    def clear_faults(self) -> None:
        self.faults.clear()
        self.store.clear("fiscal_fault")

    def forget_everything(self) -> None:
        for room in ("note", "event", "shelf", "city", "setting", "fault"):
            self.store.clear(f"fiscal_{room}")
        for memory in (self.notes, self.key_by_dps, self.events, self.shelf, self.faults, self.calls):
            memory.clear()
        self.cities, self.settings = dict(CITIES), dict(self.defaults)

    def log(self, **call: Json) -> None:
        self.calls.append({"at": self.now().isoformat(), **call})


def new_key(*, city: str, tax_id: str, number: int, month: str, environment_of_issue: int = 2) -> str:
    """A note's access key of 50: city, 2 (issued nationally), kind and number of registration, nNFSe, AAMM, nine digits, check."""
    kind, registration = ("1", tax_id.zfill(14)) if len(tax_id) == 11 else ("2", tax_id)
    stem = f"{city}{environment_of_issue}{kind}{registration}{number:013d}{month}{secrets.randbelow(10**9):09d}"
    return stem + key_check_digit(stem)


def key_check_digit(stem: str) -> str:
    """Modulo 11 of 49 characters, weights 2 to 9 from the right; a letter counts as its code minus 48; 10 and 11 become 0."""
    total = sum((ord(char) - 48) * (2 + place % 8) for place, char in enumerate(reversed(stem)))
    rest = total % 11
    return "0" if rest < 2 else str(11 - rest)
