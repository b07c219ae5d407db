"""What the sandbox's Stripe knows: its objects, its clock, its scripted faults, the events it tells. No HTTP here.

Amounts are integer centavos. Every object is a record as the API shows it; names that begin with "_" are ours and never shown.
"""

from __future__ import annotations

import copy
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

from tokia.sandbox.asgi import Json
from tokia.sandbox.store import Store
from tokia.sandbox.stripe_cards import BY_TOKEN, TestCard

API_VERSION = "2026-10-28.endive"  # that the SDK of requirements.in pins
Record = dict[str, Any]
Fault = dict[str, Any]

FAULTS_BY_OPERATION: dict[str, tuple[str, ...]] = {
    "create": ("500", "503", "429", "timeout", "timeout_before"),  # any POST
    "read": ("500", "503", "429", "404", "timeout_before"),  # any GET
    "charge": ("decline",),  # {"kind": "decline", "code": "do_not_honor"}
    "refund": ("pending", "failed", "stuck"),
    "webhook": ("drop", "delay", "duplicate"),
}
PREFIXES = {
    "customer": "cus", "payment_method": "pm", "setup_intent": "seti", "checkout.session": "cs_test", "payment_intent": "pi",
    "charge": "ch", "refund": "re", "dispute": "du", "balance_transaction": "txn", "event": "evt",
}  # fmt: skip


class StripeError(Exception):
    """An answer in Stripe's shape: `{"error": {"type", "code", "message", …}}`."""

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        **more: Json,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"type": kind, "code": code, "message": message, "param": param, **more}
        self.body = {name: value for name, value in self.body.items() if value is not None}


class Books:
    """Every object of one account, oldest first. `tell` is set by the courier and never blocks."""

    def __init__(self, *, store: Store, has_pix: bool, refund_seconds: float) -> None:
        self.store = store
        self.has_pix = has_pix
        self.refund_seconds = refund_seconds
        self.offset_seconds = 0.0
        self.tell: Callable[[Record], None] = lambda event: None
        self.faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self.objects: dict[str, Record] = dict(store.read_all("stripe"))
        self.keys: dict[str, Record] = dict(store.read_all("stripe_keys"))  # by Idempotency-Key

    # ── Clock, faults, rows ──────────────────────────────────────────────────────────────────────────────────────
    def now(self) -> int:
        return int(time.time() + self.offset_seconds)

    def take_fault(self, operation: str, *kinds: str) -> Fault | None:
        queue = self.faults[operation]
        if queue and (not kinds or queue[0]["kind"] in kinds):
            return queue.popleft()
        return None

    def add_fault(self, *, operation: str, fault: Fault, times: int) -> None:
        if fault.get("kind") not in FAULTS_BY_OPERATION.get(operation, ()):
            raise ValueError(f"{operation}: {FAULTS_BY_OPERATION.get(operation)}")
        self.faults[operation].extend(dict(fault) for _ in range(times))

    def new(self, kind: str, **members: Any) -> Record:
        record: Record = {
            "id": f"{PREFIXES[kind]}_{secrets.token_hex(12)}", "object": kind, "created": self.now(), "livemode": False, **members,
        }  # fmt: skip
        return self.keep(record)

    def keep(self, record: Record) -> Record:
        self.objects[record["id"]] = record
        self.store.put(room="stripe", key=record["id"], value=record)
        return record

    def get(self, kind: str, object_id: str, *, param: str = "id", status: int = 404) -> Record:
        found = self.objects.get(object_id)
        if found is None or found["object"] != kind:
            name = {"checkout.session": "checkout session"}.get(kind, kind)
            raise StripeError(status, "resource_missing", f"No such {name}: '{object_id}'", param=param)
        return found

    def all(self, kind: str) -> Iterator[Record]:
        return (record for record in list(self.objects.values()) if record["object"] == kind)

    def emit(self, kind: str, record: Record) -> Record:
        event = self.new(
            "event", type=kind, api_version=API_VERSION, data={"object": public(copy.deepcopy(record))},
            pending_webhooks=1, request={"id": None, "idempotency_key": None},
        )  # fmt: skip
        self.tell(event)
        return event

    def remember_answer(self, key: str, *, request: str, status: int, body: Json) -> None:
        self.keys[key] = {"request": request, "status": status, "body": body, "at": self.now()}
        self.store.put(room="stripe_keys", key=key, value=self.keys[key])

    def forget_everything(self) -> None:
        for room in ("stripe", "stripe_keys"):
            self.store.clear(room)
        self.objects.clear()
        self.keys.clear()
        self.faults.clear()
        self.offset_seconds = 0.0

    # ── Holders and their cards ──────────────────────────────────────────────────────────────────────────────────
    def create_customer(self, asked: Record) -> Record:
        members = {name: asked.get(name) for name in ("email", "name", "description")}
        return self.new(
            "customer", **members, metadata=asked.get("metadata") or {}, invoice_settings={"default_payment_method": None}
        )

    def new_card(self, card: TestCard, *, exp_month: int = 12, exp_year: int = 2034) -> Record:
        return self.new(
            "payment_method", type="card", customer=None, metadata={}, billing_details={"name": None},
            card={"brand": card.brand, "last4": card.number[-4:], "exp_month": exp_month, "exp_year": exp_year, "country": "BR",
                  "funding": "credit", "fingerprint": f"fp{card.number[-8:]}"},
            _token=card.token,
        )  # fmt: skip

    def card_named(self, name: str, *, customer: str | None) -> Record:
        """A payment method by id, or a fresh one by a test card's token. Raises StripeError."""
        if name in BY_TOKEN:
            return self.new_card(BY_TOKEN[name])
        method = self.get("payment_method", name, param="payment_method", status=400)
        if method["customer"] is None and method.get("_detached"):
            raise StripeError(
                400, "payment_method_unexpected_state",
                "This PaymentMethod was previously used without being attached to a Customer or was detached from a Customer, "
                "and may not be used again.",
            )  # fmt: skip
        if method["customer"] and method["customer"] != customer:
            raise StripeError(
                400, None, "The PaymentMethod belongs to another Customer. Please supply the `customer` it belongs to.",
                param="payment_method",
            )  # fmt: skip
        return method

    def behaviour(self, method: Record) -> TestCard:
        return BY_TOKEN[method["_token"]]

    def attach(self, method: Record, *, customer: str) -> Record:
        self.get("customer", customer, param="customer", status=400)
        if method["customer"] not in (None, customer) or method.get("_detached"):
            raise StripeError(400, "payment_method_unexpected_state", "The payment method can't be attached.")
        if method["customer"] is None:
            method["customer"] = customer
            self.keep(method)
            self.emit("payment_method.attached", method)
        return method

    def detach(self, method: Record) -> Record:
        if method["customer"] is None:
            raise StripeError(
                400, "payment_method_not_attached",
                "The payment method you provided is not attached to a customer so detachment is impossible.",
            )  # fmt: skip
        method["customer"], method["_detached"] = None, True
        self.keep(method)
        self.emit("payment_method.detached", method)
        return method


def public(record: Record) -> Record:
    """A record without what is ours."""
    return {name: public(value) if isinstance(value, dict) else value for name, value in record.items() if not name.startswith("_")}
