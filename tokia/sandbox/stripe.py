"""Stripe on loopback: the API that cards and automatic top-ups need, its pages, its signed events, its scripted faults.

`/stripe/v1/…` the API (parameters checked by the SDK's published types) · `/stripe/checkout/…`, `/stripe/3ds/…`, `/stripe/pix/…`
what people see · `/stripe/api/…` the control: faults, clock, disputes, deliveries.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tokia.sandbox.asgi import Json, Request, Response, json_response
from tokia.sandbox.stripe_books import API_VERSION, Books, Record, StripeError, public
from tokia.sandbox.stripe_control import StripeControl
from tokia.sandbox.stripe_hooks import StripeCourier
from tokia.sandbox.stripe_pages import StripePages
from tokia.sandbox.stripe_payments import Payments
from tokia.sandbox.stripe_sessions import Sessions
from tokia.sandbox.stripe_types import Slip, check, unflatten

TIMEOUT_MS = 60_000  # how long a lost answer keeps the client waiting, unless the fault says `ms`
LIST_DEFAULT, LIST_MAX = 10, 100
LISTS = {  # what a list may be narrowed by, beside `created`
    "customers": ("customer", "CustomerListParams", ("email",)),
    "payment_methods": ("payment_method", "PaymentMethodListParams", ("customer", "type")),
    "setup_intents": ("setup_intent", "SetupIntentListParams", ("customer", "payment_method")),
    "payment_intents": ("payment_intent", "PaymentIntentListParams", ("customer",)),
    "checkout/sessions": ("checkout.session", "checkout.SessionListParams", ("customer", "payment_intent", "status")),
    "charges": ("charge", "ChargeListParams", ("customer", "payment_intent")),
    "refunds": ("refund", "RefundListParams", ("charge", "payment_intent")),
    "disputes": ("dispute", "DisputeListParams", ("charge", "payment_intent")),
    "events": ("event", "EventListParams", ("type",)),
    "balance_transactions": ("balance_transaction", "BalanceTransactionListParams", ("type", "source")),
}
EXPANDABLE = {"payment_intent", "setup_intent", "payment_method", "latest_charge", "charge", "customer", "balance_transaction"}
Handler = Callable[[Record, str], Record]


@dataclass
class Stripe:
    """The account: who holds `secret_key` may ask. Runs on one event loop."""

    books: Books
    payments: Payments
    sessions: Sessions
    courier: StripeCourier
    control: StripeControl
    pages: StripePages
    secret_key: str

    def open(self) -> None:
        self.courier.open()

    async def close(self) -> None:
        self.payments.close()
        await self.courier.close()

    async def serve(self, request: Request) -> Response:
        self.payments.base_url = f"http://{request.headers.get('host', '127.0.0.1')}/stripe"
        path = request.path.removeprefix("/stripe")
        if path.startswith("/v1/"):
            return await self._serve_api(request, path.removeprefix("/v1/"))
        if path.startswith("/api/"):
            return await self.control.serve(request, path.removeprefix("/api/"))
        return self.pages.serve(request, path)

    # ── The API ──────────────────────────────────────────────────────────────────────────────────────────────────
    async def _serve_api(self, request: Request, path: str) -> Response:
        operation = "read" if request.method == "GET" else "create"
        fault = self.books.take_fault(operation)
        try:
            if fault is not None and fault["kind"] != "timeout":
                await _suffer(fault)
            status, body, is_replay = self._answer(request, path)
            if fault is not None and fault["kind"] == "timeout":  # it was done, and nobody heard
                await _suffer(fault)
        except StripeError as error:
            status, body, is_replay = error.status, {"error": error.body}, False
        headers = {
            "request-id": f"req_{secrets.token_hex(7)}",
            "stripe-version": request.headers.get("stripe-version", API_VERSION),
        }
        if key := request.headers.get("idempotency-key"):
            headers["idempotency-key"] = key
        if is_replay:
            headers["idempotent-replayed"] = "true"
        return json_response(body, status=status, headers=headers)

    def _answer(self, request: Request, path: str) -> tuple[int, Json, bool]:
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(key.encode(), self.secret_key.encode()):
            raise StripeError(401, None, "Invalid API Key provided.")
        if request.method == "GET":
            return 200, self._get(path, _read(request.query_string)), False
        if request.method != "POST":
            raise StripeError(405, None, f"{request.method} is not served here.")
        idempotency_key = request.headers.get("idempotency-key", "")
        asked = hashlib.sha256(f"{path}\0{request.body.decode('utf-8', 'replace')}".encode()).hexdigest()
        known = self.books.keys.get(idempotency_key) if idempotency_key else None
        if known is not None:
            if known["request"] != asked:
                raise StripeError(
                    400, "idempotency_key_in_use",
                    "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a "
                    f"key other than '{idempotency_key}' if you meant to execute a different request.", kind="idempotency_error",
                )  # fmt: skip
            return known["status"], known["body"], True
        status, body = 200, None
        try:
            body = self._post(path, _read(request.body.decode("utf-8", "replace")))
        except StripeError as error:
            status, body = error.status, {"error": error.body}
            if status == 400 and error.body.get("code", "").startswith("parameter_"):
                return status, body, False  # refused before anything began: the key stays free
        if idempotency_key:
            self.books.remember_answer(idempotency_key, request=asked, status=status, body=body)
        return status, body, False

    def _get(self, path: str, asked: Record) -> Record:
        if path in LISTS:
            return self._list(path, asked)
        match = re.fullmatch(r"(.+)/([^/]+)", path)
        if match is None or match[1] not in LISTS:
            raise StripeError(404, None, f"Unrecognized request URL (GET: /v1/{path}).")
        kind, class_name, _ = LISTS[match[1]]
        asked = _checked(asked, class_name.replace("ListParams", "RetrieveParams"))
        record = self.books.get(kind, match[2])
        if kind == "payment_intent":
            self.payments.refresh(record)
        if kind == "checkout.session":
            self.sessions.refresh(record)
        return self._expanded(record, asked)

    def _list(self, path: str, asked: Record) -> Record:
        kind, class_name, filters = LISTS[path]
        asked = _checked(asked, class_name)
        limit = asked.get("limit", LIST_DEFAULT)
        if not 1 <= limit <= LIST_MAX:
            raise StripeError(400, "parameter_invalid_integer", f"limit must be from 1 to {LIST_MAX}", param="limit")
        found = [
            record
            for record in reversed(list(self.books.all(kind)))
            if all(name not in asked or record.get(name) == asked[name] for name in filters)
            and _in_range(record, asked.get("created"))
        ]
        if "types" in asked:
            found = [record for record in found if record["type"] in asked["types"]]
        if after := asked.get("starting_after"):
            ids = [record["id"] for record in found]
            if after not in ids:
                raise StripeError(400, "resource_missing", f"No such {kind}: '{after}'", param="starting_after")
            found = found[ids.index(after) + 1 :]
        inner = {"expand": [name.removeprefix("data.") for name in asked.get("expand") or ()]}
        page = [self._expanded(record, inner) for record in found[:limit]]
        return {"object": "list", "url": f"/v1/{path}", "has_more": len(found) > limit, "data": page}

    def _post(self, path: str, asked: Record) -> Record:
        for pattern, class_name, handler in self._verbs():
            match = re.fullmatch(pattern, path)
            if match is not None:
                asked = _checked(asked, class_name)
                return self._expanded(handler(asked, match[1] if match.groups() else ""), asked)
        raise StripeError(404, None, f"Unrecognized request URL (POST: /v1/{path}).")

    def _verbs(self) -> list[tuple[str, str, Handler]]:
        books, payments, sessions = self.books, self.payments, self.sessions
        return [
            (r"customers", "CustomerCreateParams", lambda asked, _: books.create_customer(asked)),
            (
                r"payment_methods/([^/]+)/attach", "PaymentMethodAttachParams",
                lambda asked, key: books.attach(books.card_named(key, customer=asked["customer"]), customer=asked["customer"]),
            ),
            (
                r"payment_methods/([^/]+)/detach", "PaymentMethodDetachParams",
                lambda _, key: books.detach(books.get("payment_method", key)),
            ),
            (r"setup_intents", "SetupIntentCreateParams", lambda asked, _: sessions.create_setup(asked)),
            (
                r"setup_intents/([^/]+)/confirm", "SetupIntentConfirmParams",
                lambda asked, key: sessions.confirm_setup(books.get("setup_intent", key), asked),
            ),
            (r"checkout/sessions", "checkout.SessionCreateParams", lambda asked, _: sessions.create(asked)),
            (
                r"checkout/sessions/([^/]+)/expire", "checkout.SessionExpireParams",
                lambda _, key: sessions.expire(books.get("checkout.session", key)),
            ),
            (r"payment_intents", "PaymentIntentCreateParams", lambda asked, _: payments.create_intent(asked)),
            (
                r"payment_intents/([^/]+)/confirm", "PaymentIntentConfirmParams",
                lambda asked, key: payments.confirm(books.get("payment_intent", key), asked),
            ),
            (
                r"payment_intents/([^/]+)/cancel", "PaymentIntentCancelParams",
                lambda asked, key: payments.cancel(books.get("payment_intent", key), reason=asked.get("cancellation_reason")),
            ),
            (r"refunds", "RefundCreateParams", lambda asked, _: payments.create_refund(asked)),
        ]  # fmt: skip

    def _expanded(self, record: Record, asked: Record) -> Record:
        shown = public(record)
        for name in asked.get("expand") or ():
            first, _, rest = name.partition(".")
            if first not in EXPANDABLE or first not in shown:
                raise StripeError(400, None, f"This property cannot be expanded ({name}).", param="expand")
            if isinstance(shown[first], str) and shown[first] in self.books.objects:
                shown[first] = self._expanded(self.books.objects[shown[first]], {"expand": [rest] if rest else []})
        return shown


def _read(text: str) -> Record:
    try:
        return unflatten(text)
    except (Slip, ValueError) as slip:
        raise StripeError(400, getattr(slip, "code", None), str(slip), param=getattr(slip, "param", None)) from slip


def _checked(asked: Record, class_name: str) -> Record:
    if "payment_method_types" in asked and "Method" not in class_name:
        message = "payment_method_types is no longer supported. Use allowed_payment_method_types."
        raise StripeError(400, "payment_method_types_no_longer_supported", message, param="payment_method_types")
    try:
        return check(asked, class_name=class_name)
    except Slip as slip:
        raise StripeError(400, slip.code, slip.message, param=slip.param) from slip


def _in_range(record: Record, bounds: Any) -> bool:
    if bounds is None:
        return True
    if isinstance(bounds, int):
        return bool(record["created"] == bounds)
    tests: dict[str, Callable[[int, int], bool]] = {
        "gt": lambda at, edge: at > edge, "gte": lambda at, edge: at >= edge, "lt": lambda at, edge: at < edge,
        "lte": lambda at, edge: at <= edge,
    }  # fmt: skip
    return all(tests[name](record["created"], edge) for name, edge in bounds.items())


async def _suffer(fault: Record) -> None:
    if fault["kind"].startswith("timeout"):
        await asyncio.sleep(float(fault.get("ms", TIMEOUT_MS)) / 1000)
    status = {"503": 503, "429": 429, "404": 404}.get(fault["kind"], 500)
    kind = "invalid_request_error" if status == 404 else "api_error"
    code = {429: "rate_limit", 404: "resource_missing"}.get(status)
    raise StripeError(status, code, "A fault of the sandbox's script.", kind=kind)
