"""Stripe by its official package: requests and answers only; no decision, no row. Answers are plain dictionaries.

Every verb may raise StripeUnavailable (nothing is known: ask again with the same key), StripeRefused (Stripe said no) or
CardDeclined (the cardholder's bank said no). Amounts are integer centavos. The key of every POST comes from a row of ours, so the
same request made again is the same payment; Stripe keeps keys for a day. No retries here: the sweeps are the retries.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import httpx
import stripe
from django.conf import settings

from billing.cards.declines import words_for
from billing.cards.errors import CardDeclined, CardsOff, StripeRefused, StripeUnavailable

log = logging.getLogger("billing.cards")
logging.getLogger("stripe").setLevel(logging.WARNING)  # it tells every request; ours tell what matters

Json = dict[str, Any]
PAGE_SIZE = 100
PAGES_MAX = 1_000
KEY_SECONDS = 23 * 3_600  # Stripe keeps an idempotency key for a day; later a request is not sent again, but looked for


class Wire(stripe.HTTPClient):
    """The package's requests over one httpx client of ours: bounded waits, no proxy from the environment, no redirects."""

    name = "httpx"

    def __init__(self) -> None:
        super().__init__()
        timeout = httpx.Timeout(settings.STRIPE_TIMEOUT_SECONDS, connect=min(5.0, settings.STRIPE_TIMEOUT_SECONDS))
        self.client = httpx.Client(timeout=timeout, trust_env=False, follow_redirects=False)

    def request(  # type: ignore[override]  # the base class promises text, its own children give bytes
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, *, _usage: list[str] | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        try:
            answer = self.client.request(method, url, headers=headers, content=post_data or None)
        except httpx.HTTPError as error:
            raise stripe.APIConnectionError(f"{method}: {type(error).__name__}") from error  # type: ignore[no-untyped-call]
        return answer.content, answer.status_code, answer.headers

    def close(self) -> None:
        self.client.close()


_clients: dict[tuple[object, ...], tuple[stripe.StripeClient, Wire]] = {}
_opening = threading.Lock()


def client() -> stripe.StripeClient:
    """This process's client; a fork, or other settings, get their own. Raises CardsOff where no key is configured."""
    if not settings.STRIPE_SECRET_KEY:
        raise CardsOff("no key of Stripe's")
    name = (os.getpid(), settings.STRIPE_API_URL, settings.STRIPE_SECRET_KEY, settings.STRIPE_TIMEOUT_SECONDS)
    with _opening:
        if name not in _clients:
            wire = Wire()
            addresses: Any = {"api": settings.STRIPE_API_URL} if settings.STRIPE_API_URL else {}
            made = stripe.StripeClient(
                settings.STRIPE_SECRET_KEY, base_addresses=addresses, max_network_retries=0, http_client=wire,
                stripe_version=stripe.api_version,
            )  # fmt: skip
            _clients[name] = (made, wire)
        return _clients[name][0]


def close_all() -> None:
    """For tests: every connection of this process."""
    with _opening:
        for _, wire in _clients.values():
            wire.close()
        _clients.clear()


def is_on() -> bool:
    return bool(settings.STRIPE_SECRET_KEY)


# ── Holders and their cards ──────────────────────────────────────────────────────────────────────────────────────────
def create_holder(*, key: str, name: str, email: str, metadata: dict[str, str]) -> Json:
    asked: Any = {"name": name, "metadata": metadata, **({"email": email} if email else {})}
    with _asking("create customer"):
        return client().v1.customers.create(asked, {"idempotency_key": key}).to_dict()


def read_card(card_id: str) -> Json:
    with _asking("read payment method"):
        return client().v1.payment_methods.retrieve(card_id).to_dict()


def list_cards(holder_id: str) -> list[Json]:
    """Every card attached to a holder, newest first."""
    with _asking("list payment methods"):
        page = client().v1.payment_methods.list({"customer": holder_id, "type": "card", "limit": PAGE_SIZE})
        return [card.to_dict() for card in page.data]


def detach_card(card_id: str) -> Json:
    """Nobody can charge it any more. StripeRefused `payment_method_not_attached` or 404 where it is gone."""
    with _asking("detach payment method"):
        return client().v1.payment_methods.detach(card_id).to_dict()


def read_setup(setup_id: str) -> Json:
    with _asking("read setup intent"):
        return client().v1.setup_intents.retrieve(setup_id).to_dict()


# ── Pages of Stripe's ────────────────────────────────────────────────────────────────────────────────────────────────
def create_session(asked: Json, *, key: str) -> Json:
    with _asking("create session"):
        wanted: Any = asked
        return client().v1.checkout.sessions.create(wanted, {"idempotency_key": key}).to_dict()


def read_session(session_id: str) -> Json:
    """With its payment and its setup, whole."""
    with _asking("read session"):
        return client().v1.checkout.sessions.retrieve(session_id, {"expand": ["payment_intent", "setup_intent"]}).to_dict()


def expire_session(session_id: str) -> Json:
    with _asking("expire session"):
        return client().v1.checkout.sessions.expire(session_id).to_dict()


# ── Payments ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def create_intent(asked: Json, *, key: str) -> Json:
    with _asking("create intent"):
        wanted: Any = {**asked, "expand": ["latest_charge"]}
        return client().v1.payment_intents.create(wanted, {"idempotency_key": key}).to_dict()


def confirm_intent(intent_id: str, asked: Json, *, key: str) -> Json:
    with _asking("confirm intent"):
        wanted: Any = {**asked, "expand": ["latest_charge"]}
        return client().v1.payment_intents.confirm(intent_id, wanted, {"idempotency_key": key}).to_dict()


def read_intent(intent_id: str) -> Json:
    with _asking("read intent"):
        return client().v1.payment_intents.retrieve(intent_id, {"expand": ["latest_charge"]}).to_dict()


def cancel_intent(intent_id: str) -> Json:
    with _asking("cancel intent"):
        return client().v1.payment_intents.cancel(intent_id, {"cancellation_reason": "abandoned"}).to_dict()


def list_intents(*, created_from: int, holder_id: str = "") -> Iterator[list[Json]]:
    """Payments made since an instant (Unix seconds), newest first, page by page."""
    asked: Json = {"created": {"gte": created_from}, **({"customer": holder_id} if holder_id else {})}
    return _pages("list intents", "payment_intents", asked)


# ── Refunds and disputes ─────────────────────────────────────────────────────────────────────────────────────────────
def create_refund(*, intent_id: str, amount: int, key: str, metadata: dict[str, str]) -> Json:
    asked: Any = {"payment_intent": intent_id, "amount": amount, "reason": "requested_by_customer", "metadata": metadata}
    with _asking("create refund"):
        return client().v1.refunds.create(asked, {"idempotency_key": key}).to_dict()


def read_refund(refund_id: str) -> Json:
    with _asking("read refund"):
        return client().v1.refunds.retrieve(refund_id).to_dict()


def list_refunds(*, intent_id: str = "", created_from: int | None = None) -> Iterator[list[Json]]:
    asked: Json = {"payment_intent": intent_id} if intent_id else {"created": {"gte": created_from}}
    return _pages("list refunds", "refunds", asked)


def intent_of_charge(charge_id: str) -> str:
    """The payment that a charge belongs to; empty for a charge without one."""
    with _asking("read charge"):
        told = client().v1.charges.retrieve(charge_id).to_dict()
    return str(told.get("payment_intent") or "")


def read_dispute(dispute_id: str) -> Json:
    with _asking("read dispute"):
        return client().v1.disputes.retrieve(dispute_id).to_dict()


def list_disputes(*, created_from: int) -> Iterator[list[Json]]:
    return _pages("list disputes", "disputes", {"created": {"gte": created_from}})


def list_balance(*, created_from: int, created_to: int) -> Iterator[list[Json]]:
    """Every movement of the account's balance in a period, for the reconciliation: amount, fee, net, type, source."""
    return _pages("list balance transactions", "balance_transactions", {"created": {"gte": created_from, "lt": created_to}})


def _pages(what: str, service: str, asked: Json) -> Iterator[list[Json]]:
    after: str | None = None
    for _ in range(PAGES_MAX):
        wanted: Any = {**asked, "limit": PAGE_SIZE, **({"starting_after": after} if after else {})}
        with _asking(what):
            page = getattr(client().v1, service).list(wanted)
            rows = [row.to_dict() for row in page.data]
        yield rows
        if not page.has_more or not rows:
            return
        after = rows[-1]["id"]
    log.critical("Stripe lists more pages than we follow", extra={"what": what})


# ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@contextmanager
def _asking(what: str) -> Iterator[None]:
    try:
        yield
    except stripe.StripeError as error:
        _translate(what, error)
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:  # a body that the package can't read: some proxy's, not Stripe's
        raise StripeUnavailable(f"{what}: an odd answer, {type(error).__name__}") from error


def _translate(what: str, error: stripe.StripeError) -> NoReturn:
    status, code = error.http_status or 0, error.code or ""
    detail = f"{what}: {type(error).__name__} {status} {code}".strip()
    if isinstance(error, stripe.CardError):
        told = (error.json_body or {}).get("error", {}) if isinstance(error.json_body, dict) else {}
        decline_code = str(told.get("decline_code") or code or "generic_decline")
        if code == "authentication_required":
            decline_code = code
        intent = told.get("payment_intent") or {}
        raise CardDeclined(
            words_for(decline_code), decline_code=decline_code[:60], intent_id=str(intent.get("id") or "")
        ) from error
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        log.critical("Stripe refuses our key", extra={"what": what, "status": status})
        raise StripeUnavailable(detail) from error
    if isinstance(error, stripe.IdempotencyError) and status != 409:
        log.critical("a key was used with other parameters", extra={"what": what})
        raise StripeRefused(http_status=status, kind=code or "idempotency_error", detail=detail) from error
    if isinstance(error, stripe.InvalidRequestError) and 400 <= status < 500 and status not in (408, 409, 429):
        param = str(getattr(error, "param", "") or "")
        raise StripeRefused(http_status=status, kind=code, detail=f"{what}: {param} {error.user_message or ''}"[:200]) from error
    raise StripeUnavailable(detail) from error
