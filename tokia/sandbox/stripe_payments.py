"""Payments, refunds and disputes of the sandbox's Stripe: what moves when. No HTTP here."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tokia.sandbox.brcode import dynamic_code
from tokia.sandbox.stripe_books import Books, Record, StripeError, public
from tokia.sandbox.stripe_cards import MESSAGES, OWN_CODES

AMOUNT_MIN, AMOUNT_MAX = 50, 99_999_999  # centavos
PIX_SECONDS = 14_400
PIX_SECONDS_BOUNDS = (60, 1_209_600)
DISPUTE_OUTCOMES = ("won", "lost")
LIVE_REFUNDS = ("pending", "requires_action", "succeeded")


@dataclass
class Payments:
    """PaymentIntents, charges, refunds, disputes over the books. `base_url` is where people see pages of ours."""

    books: Books
    base_url: str = ""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    # ── PaymentIntents ───────────────────────────────────────────────────────────────────────────────────────────
    def create_intent(self, asked: Record) -> Record:
        self._check_intent(asked)
        allowed = [kind for kind in asked.get("allowed_payment_method_types") or ["card", "pix"] if self._is_offered(kind)]
        intent = self.books.new(
            "payment_intent", amount=asked["amount"], amount_received=0, amount_capturable=0, currency=asked["currency"],
            customer=asked.get("customer"), description=asked.get("description"), metadata=asked.get("metadata") or {},
            payment_method=None, payment_method_types=allowed, setup_future_usage=asked.get("setup_future_usage"),
            status="requires_payment_method", next_action=None, last_payment_error=None, latest_charge=None, canceled_at=None,
            cancellation_reason=None, capture_method="automatic_async", confirmation_method="automatic",
            client_secret=f"pi_secret_{secrets.token_hex(8)}", _pix=(asked.get("payment_method_options") or {}).get("pix") or {},
        )  # fmt: skip
        self.books.emit("payment_intent.created", intent)
        if asked.get("confirm"):
            self.confirm(intent, asked)
        return intent

    def _check_intent(self, asked: Record) -> None:
        if asked["currency"] != "brl":
            raise StripeError(400, "currency_not_supported", f"Invalid currency: {asked['currency']}", param="currency")
        if not AMOUNT_MIN <= asked["amount"] <= AMOUNT_MAX:
            code = "amount_too_small" if asked["amount"] < AMOUNT_MIN else "amount_too_large"
            raise StripeError(400, code, f"Amount must be from R$ 0.50 to R$ 999,999.99 (got {asked['amount']}).", param="amount")
        if asked.get("customer"):
            self.books.get("customer", asked["customer"], param="customer", status=400)
        if asked.get("off_session") and not asked.get("confirm"):
            raise StripeError(400, None, "You can only pass off_session when confirm is true.", param="off_session")
        self._pix_seconds((asked.get("payment_method_options") or {}).get("pix") or {})

    def _pix_seconds(self, options: Record) -> int:
        seconds = int(options.get("expires_after_seconds") or PIX_SECONDS)
        if "expires_at" in options:
            seconds = int(options["expires_at"]) - self.books.now()
        low, high = PIX_SECONDS_BOUNDS
        if not low <= seconds <= high:
            name = "payment_method_options[pix][expires_after_seconds]"
            raise StripeError(400, "parameter_invalid_integer", f"{name} must be between {low} and {high}.", param=name)
        return seconds

    def _is_offered(self, kind: str) -> bool:
        return kind == "card" or (kind == "pix" and self.books.has_pix)

    def confirm(self, intent: Record, asked: Record) -> Record:
        """Raises StripeError 402 for a decline; the intent then waits for another payment method."""
        self.refresh(intent)
        if intent["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
            raise self._bad_state(intent, "confirm")
        kind = (asked.get("payment_method_data") or {}).get("type")
        if kind == "pix":
            return self._await_pix(intent, asked)
        name = asked.get("payment_method") or intent["payment_method"]
        if not name:
            raise StripeError(
                400, "parameter_missing", "You cannot confirm this PaymentIntent because it's missing a payment method.",
                param="payment_method",
            )  # fmt: skip
        if "card" not in intent["payment_method_types"]:
            raise StripeError(400, "payment_intent_incompatible_payment_method", "The payment method type card is not allowed.")
        method = self.books.card_named(name, customer=intent["customer"])
        intent["payment_method"] = method["id"]
        if asked.get("setup_future_usage"):
            intent["setup_future_usage"] = asked["setup_future_usage"]
        if self.books.behaviour(method).asks:
            if asked.get("off_session"):
                raise self.decline(intent, "authentication_required")
            if not asked.get("return_url"):
                raise StripeError(400, "parameter_missing", "This PaymentIntent needs a return_url.", param="return_url")
            return self.ask_bank(intent, return_url=asked["return_url"])
        return self.charge(intent)

    def ask_bank(self, intent: Record, *, return_url: str) -> Record:
        """The cardholder's bank wants to see them: they go to its page and come back."""
        intent.update(
            status="requires_action",
            next_action={
                "type": "redirect_to_url",
                "redirect_to_url": {"url": f"{self.base_url}/3ds/{intent['id']}", "return_url": return_url},
            },
        )
        self.books.keep(intent)
        self.books.emit("payment_intent.requires_action", intent)
        return intent

    def charge(self, intent: Record, *, details: Record | None = None) -> Record:
        """Take the money. Raises StripeError 402 for a decline."""
        code, is_disputed = "", False
        if details is None:
            method = self.books.get("payment_method", intent["payment_method"])
            card = self.books.behaviour(method)
            fault = self.books.take_fault("charge")
            code, is_disputed = (str(fault.get("code", "do_not_honor")) if fault else card.decline), card.is_disputed
            details = {"type": "card", "card": public(method["card"])}
        if code:
            raise self.decline(intent, code)
        charge = self.books.new(
            "charge", amount=intent["amount"], amount_captured=intent["amount"], amount_refunded=0, currency=intent["currency"],
            customer=intent["customer"], payment_intent=intent["id"], payment_method=intent["payment_method"], paid=True,
            captured=True, refunded=False, disputed=False, status="succeeded", metadata=intent["metadata"],
            payment_method_details=details, description=intent["description"], receipt_url=None,
        )  # fmt: skip
        cost = intent["amount"] * 399 // 10_000 + 39
        charge["balance_transaction"] = self.book("charge", source=charge["id"], amount=intent["amount"], cost=cost)
        intent.update(
            status="succeeded",
            amount_received=intent["amount"],
            latest_charge=charge["id"],
            next_action=None,
            last_payment_error=None,
        )
        if intent["customer"] and intent["setup_future_usage"] and intent["payment_method"]:
            self.books.attach(self.books.get("payment_method", intent["payment_method"]), customer=intent["customer"])
        self.books.keep(charge)
        self.books.keep(intent)
        self.books.emit("charge.succeeded", charge)
        self.books.emit("payment_intent.succeeded", intent)
        if is_disputed:
            self.open_dispute(intent)
        return intent

    def decline(self, intent: Record, code: str) -> StripeError:
        """The refusal, after the intent has learned of it."""
        error = {
            "type": "card_error", "code": code if code in OWN_CODES else "card_declined", "decline_code": code,
            "message": MESSAGES.get(code, "Your card was declined."),
        }  # fmt: skip
        intent.update(status="requires_payment_method", next_action=None, last_payment_error=error)
        self.books.keep(intent)
        self.books.emit("payment_intent.payment_failed", intent)
        more = {name: value for name, value in error.items() if name not in ("type", "code", "message")}
        return StripeError(402, error["code"], error["message"], kind="card_error", payment_intent=public(intent), **more)

    def cancel(self, intent: Record, *, reason: str | None) -> Record:
        self.refresh(intent)
        if intent["status"] in ("succeeded", "canceled"):
            raise self._bad_state(intent, "cancel")
        intent.update(status="canceled", canceled_at=self.books.now(), cancellation_reason=reason, next_action=None)
        self.books.keep(intent)
        self.books.emit("payment_intent.canceled", intent)
        return intent

    def refresh(self, intent: Record) -> Record:
        """A Pix that nobody paid in time has failed."""
        action = intent["next_action"] or {}
        if action.get("type") == "pix_display_qr_code" and action["pix_display_qr_code"]["expires_at"] <= self.books.now():
            error = {
                "type": "invalid_request_error", "code": "payment_intent_payment_attempt_expired",
                "message": "The Pix expired before it was paid.",
            }  # fmt: skip
            intent.update(status="requires_payment_method", next_action=None, last_payment_error=error)
            self.books.keep(intent)
            self.books.emit("payment_intent.payment_failed", intent)
        return intent

    def _bad_state(self, intent: Record, verb: str) -> StripeError:
        message = f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}."
        return StripeError(400, "payment_intent_unexpected_state", message, payment_intent=public(intent))

    # ── Pix ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _await_pix(self, intent: Record, asked: Record) -> Record:
        if "pix" not in intent["payment_method_types"]:
            message = "The payment method type pix is not activated for this account."
            raise StripeError(400, "payment_intent_incompatible_payment_method", message)
        seconds = self._pix_seconds((asked.get("payment_method_options") or {}).get("pix") or intent["_pix"])
        amount = f"{intent['amount'] // 100}.{intent['amount'] % 100:02d}"
        code = dynamic_code(
            location=f"qr.sandbox.tokia.invalid/{intent['id']}", name="Tokia via Stripe", city="SAO PAULO", amount=amount
        )
        page = f"{self.base_url}/pix/{intent['id']}"
        intent.update(
            status="requires_action",
            next_action={
                "type": "pix_display_qr_code",
                "pix_display_qr_code": {
                    "data": code, "expires_at": self.books.now() + seconds, "hosted_instructions_url": page,
                    "image_url_png": f"{page}.png", "image_url_svg": f"{page}.svg",
                },
            },
        )  # fmt: skip
        self.books.keep(intent)
        self.books.emit("payment_intent.requires_action", intent)
        return intent

    def pay_pix(self, intent: Record) -> Record:
        """The payer's bank sends it. Raises StripeError where nothing awaits a Pix."""
        self.refresh(intent)
        if intent["status"] != "requires_action" or (intent["next_action"] or {}).get("type") != "pix_display_qr_code":
            raise self._bad_state(intent, "pay")
        end_to_end_id = f"E{secrets.token_hex(16)}"[:32]
        self.charge(intent, details={"type": "pix", "pix": {"bank_transaction_id": end_to_end_id}})
        return intent

    # ── Refunds ──────────────────────────────────────────────────────────────────────────────────────────────────
    def create_refund(self, asked: Record) -> Record:
        charge = self._charge_of(asked)
        amount = asked.get("amount", charge["amount"] - charge["amount_refunded"])
        if charge["disputed"]:
            raise StripeError(400, "charge_disputed", f"Charge {charge['id']} has been charged back; cannot issue a refund.")
        if charge["amount_refunded"] == charge["amount"]:
            raise StripeError(400, "charge_already_refunded", f"Charge {charge['id']} has already been refunded.")
        if not 0 < amount <= charge["amount"] - charge["amount_refunded"]:
            left = charge["amount"] - charge["amount_refunded"]
            message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
            raise StripeError(400, "amount_too_large", message, param="amount")
        fault = self.books.take_fault("refund")
        fate = {"pending": "pending", "failed": "fails", "stuck": "stuck"}[fault["kind"]] if fault else self._fate(charge)
        refund = self.books.new(
            "refund", amount=amount, charge=charge["id"], payment_intent=charge["payment_intent"], currency=charge["currency"],
            metadata=asked.get("metadata") or {}, reason=asked.get("reason"), failure_reason=None,
            status="succeeded" if fate in ("succeeded", "fails") else "pending",
            destination_details={"type": "card", "card": {"reference_status": "pending"}},
            _fate=fate,
        )  # fmt: skip
        refund["balance_transaction"] = self.book("refund", source=refund["id"], amount=-amount)
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        self.books.keep(refund)
        self.books.keep(charge)
        self.books.emit("refund.created", refund)
        self.books.emit("charge.refunded", charge)
        if fate in ("pending", "fails"):
            self._later(self.books.refund_seconds, lambda: self.finish_refund(refund, is_failed=fate == "fails"))
        return refund

    def _charge_of(self, asked: Record) -> Record:
        if asked.get("charge"):
            return self.books.get("charge", asked["charge"], param="charge", status=400)
        if not asked.get("payment_intent"):
            raise StripeError(400, "parameter_missing", "One of charge or payment_intent is needed.", param="payment_intent")
        intent = self.books.get("payment_intent", asked["payment_intent"], param="payment_intent", status=400)
        if not intent["latest_charge"]:
            message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
            raise StripeError(400, "payment_intent_unexpected_state", message)
        return self.books.get("charge", intent["latest_charge"])

    def _fate(self, charge: Record) -> str:
        if charge["payment_method"] is None:  # a Pix goes back by the bank's own time
            return "pending"
        return self.books.behaviour(self.books.get("payment_method", charge["payment_method"])).refund

    def finish_refund(self, refund: Record, *, is_failed: bool) -> Record:
        if refund["status"] not in LIVE_REFUNDS or (not is_failed and refund["status"] == "succeeded"):
            return refund
        if is_failed:
            refund.update(status="failed", failure_reason="lost_or_stolen_card")
            refund["failure_balance_transaction"] = self.book("refund_failure", source=refund["id"], amount=refund["amount"])
            charge = self.books.get("charge", refund["charge"])
            charge["amount_refunded"] -= refund["amount"]
            charge["refunded"] = False
            self.books.keep(charge)
        else:
            refund["status"] = "succeeded"
        self.books.keep(refund)
        self.books.emit("refund.updated", refund)
        if is_failed:
            self.books.emit("refund.failed", refund)
        return refund

    # ── Disputes ─────────────────────────────────────────────────────────────────────────────────────────────────
    def open_dispute(
        self, intent: Record, *, amount: int | None = None, is_withdrawn: bool = True, is_inquiry: bool = False
    ) -> Record:
        charge = self.books.get("charge", intent["latest_charge"])
        charge["disputed"] = True
        self.books.keep(charge)
        dispute = self.books.new(
            "dispute", amount=amount or charge["amount"], charge=charge["id"], payment_intent=intent["id"], currency="brl",
            reason="fraudulent", status="warning_needs_response" if is_inquiry else "needs_response", metadata={},
            balance_transactions=[], is_charge_refundable=is_inquiry,
        )  # fmt: skip
        self.books.emit("charge.dispute.created", dispute)
        if is_withdrawn and not is_inquiry:
            self.withdraw(dispute)
        return dispute

    def withdraw(self, dispute: Record) -> Record:
        self._move(dispute, -dispute["amount"])
        self.books.emit("charge.dispute.funds_withdrawn", dispute)
        return dispute

    def close_dispute(self, dispute: Record, *, outcome: str) -> Record:
        if outcome not in DISPUTE_OUTCOMES:
            raise ValueError(f"one of {DISPUTE_OUTCOMES}")
        dispute["status"] = outcome
        if outcome == "won" and sum(moved["amount"] for moved in dispute["balance_transactions"]) < 0:
            self._move(dispute, dispute["amount"])
            self.books.emit("charge.dispute.funds_reinstated", dispute)
        self.books.keep(dispute)
        self.books.emit("charge.dispute.closed", dispute)
        return dispute

    def _move(self, dispute: Record, amount: int) -> None:
        moved = self.book("adjustment", source=dispute["id"], amount=amount)
        dispute["balance_transactions"].append(public(self.books.get("balance_transaction", moved)))
        self.books.keep(dispute)

    # ── The account's balance ────────────────────────────────────────────────────────────────────────────────────
    def book(self, kind: str, *, source: str, amount: int, cost: int = 0) -> str:
        row = self.books.new(
            "balance_transaction", type=kind, source=source, amount=amount, fee=cost, net=amount - cost, currency="brl",
            status="available", reporting_category="dispute" if kind == "adjustment" else kind, available_on=self.books.now(),
        )  # fmt: skip
        return str(row["id"])

    def _later(self, seconds: float, act: Callable[[], Any]) -> None:
        async def run() -> None:
            await asyncio.sleep(seconds)
            act()

        task = asyncio.get_running_loop().create_task(run())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def close(self) -> None:
        for task in list(self.tasks):
            task.cancel()
