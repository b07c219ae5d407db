"""Checkout Sessions and SetupIntents of the sandbox's Stripe: the pages on which people pay or save a card. No HTTP here."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from tokia.sandbox.stripe_books import Books, Record, StripeError
from tokia.sandbox.stripe_cards import BY_NUMBER, SAVEABLE_ALTHOUGH_DECLINED, TestCard
from tokia.sandbox.stripe_payments import Payments

SECONDS_MIN, SECONDS_MAX = 1_800, 86_400


@dataclass
class Sessions:
    """Over the books and the payments."""

    books: Books
    payments: Payments

    def create(self, asked: Record) -> Record:
        mode = asked.get("mode")
        if mode not in ("payment", "setup"):
            raise StripeError(400, "parameter_invalid_string", "mode must be payment or setup here.", param="mode")
        if asked.get("customer"):
            self.books.get("customer", asked["customer"], param="customer", status=400)
        for name in ("success_url", "cancel_url"):
            if asked.get(name) and urlsplit(asked[name]).scheme not in ("http", "https"):
                raise StripeError(400, "url_invalid", f"Not a valid URL: {asked[name]}", param=name)
        if not asked.get("success_url"):
            raise StripeError(400, "parameter_missing", "Missing required param: success_url.", param="success_url")
        now = self.books.now()
        expires_at = asked.get("expires_at", now + SECONDS_MAX)
        # A second or two pass between the client's clock and ours.
        if not now + SECONDS_MIN - 5 <= expires_at <= now + SECONDS_MAX + 5:
            message = "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation."
            raise StripeError(400, "checkout_session_expires_at_invalid", message, param="expires_at")
        amount = _total(asked) if mode == "payment" else None
        if mode == "setup" and not (asked.get("currency") or asked.get("allowed_payment_method_types")):
            raise StripeError(400, "parameter_missing", "Missing required param: currency.", param="currency")
        allowed = [kind for kind in asked.get("allowed_payment_method_types") or ["card", "pix"] if self.payments._is_offered(kind)]
        session = self.books.new(
            "checkout.session", mode=mode, status="open", payment_status="unpaid" if mode == "payment" else "no_payment_required",
            amount_total=amount, amount_subtotal=amount, currency="brl", customer=asked.get("customer"),
            client_reference_id=asked.get("client_reference_id"), metadata=asked.get("metadata") or {}, payment_intent=None,
            setup_intent=None, payment_method_types=allowed if mode == "payment" else ["card"], success_url=asked["success_url"],
            cancel_url=asked.get("cancel_url"), expires_at=expires_at, locale=asked.get("locale"), url=None,
            _intent=asked.get("payment_intent_data") or {}, _setup=asked.get("setup_intent_data") or {}, _lines=_lines(asked),
        )  # fmt: skip
        session["url"] = f"{self.payments.base_url}/checkout/{session['id']}"
        if mode == "setup":
            session["setup_intent"] = self.create_setup(
                {"customer": asked.get("customer"), "metadata": session["_setup"].get("metadata"), "usage": "off_session"}
            )["id"]
        return self.books.keep(session)

    def refresh(self, session: Record) -> Record:
        if session["status"] == "open" and session["expires_at"] <= self.books.now():
            self.expire(session)
        return session

    def expire(self, session: Record) -> Record:
        if session["status"] != "open":
            message = f'Only Checkout Sessions with a status in ["open"] can be expired. This one is {session["status"]}.'
            raise StripeError(400, None, message)
        session.update(status="expired", url=None)
        self.books.keep(session)
        if session["payment_intent"]:
            intent = self.books.get("payment_intent", session["payment_intent"])
            if intent["status"] not in ("succeeded", "canceled"):
                self.payments.cancel(intent, reason="abandoned")
        self.books.emit("checkout.session.expired", session)
        return session

    # ── On the page ──────────────────────────────────────────────────────────────────────────────────────────────
    def pay_by_card(self, session: Record, *, number: str) -> Record:
        """Returns the intent: succeeded, or in need of the bank's page. Raises StripeError for a decline: the page stays open."""
        card, intent = _known_card(number), self._intent_of(session)
        method = self.books.new_card(card)
        asked = {"payment_method": method["id"], "return_url": self.after(session), **_kept(session)}
        intent = self.payments.confirm(intent, asked)
        if intent["status"] == "succeeded":
            self.complete(session, intent)
        return intent

    def pay_by_pix(self, session: Record) -> Record:
        """The session is complete and unpaid: the money comes later, or never."""
        intent = self._intent_of(session)
        self.payments.confirm(intent, {"payment_method_data": {"type": "pix"}})
        session.update(status="complete", url=None)
        self.books.keep(session)
        self.books.emit("checkout.session.completed", session)
        return intent

    def complete(self, session: Record, intent: Record) -> None:
        """The money came: at once, or after a Pix that was awaited."""
        was_open = session["status"] == "open"
        session.update(status="complete", payment_status="paid", payment_intent=intent["id"], url=None)
        self.books.keep(session)
        self.books.emit("checkout.session.completed" if was_open else "checkout.session.async_payment_succeeded", session)

    def session_of(self, intent: Record) -> Record | None:
        return next((session for session in self.books.all("checkout.session") if session["payment_intent"] == intent["id"]), None)

    def after(self, session: Record) -> str:
        return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])

    def _intent_of(self, session: Record) -> Record:
        if self.refresh(session)["status"] != "open" or session["mode"] != "payment":
            raise StripeError(400, None, "This Checkout Session is no longer open.")
        if session["payment_intent"]:
            return self.books.get("payment_intent", session["payment_intent"])
        data = session["_intent"]
        intent = self.payments.create_intent(
            {
                "amount": session["amount_total"], "currency": "brl", "customer": session["customer"],
                "metadata": data.get("metadata"), "description": data.get("description"),
                "setup_future_usage": data.get("setup_future_usage"),
                "allowed_payment_method_types": session["payment_method_types"],
            }
        )  # fmt: skip
        session["payment_intent"] = intent["id"]
        self.books.keep(session)
        return intent

    # ── SetupIntents ─────────────────────────────────────────────────────────────────────────────────────────────
    def create_setup(self, asked: Record) -> Record:
        if asked.get("customer"):
            self.books.get("customer", asked["customer"], param="customer", status=400)
        setup = self.books.new(
            "setup_intent", customer=asked.get("customer"), payment_method=None, status="requires_payment_method",
            usage=asked.get("usage") or "off_session", metadata=asked.get("metadata") or {}, payment_method_types=["card"],
            next_action=None, last_setup_error=None, client_secret=f"seti_secret_{secrets.token_hex(8)}",
        )  # fmt: skip
        if asked.get("confirm"):
            self.confirm_setup(setup, asked)
        return setup

    def confirm_setup(self, setup: Record, asked: Record) -> Record:
        if setup["status"] not in ("requires_payment_method", "requires_confirmation"):
            raise StripeError(400, "setup_intent_unexpected_state", f"This SetupIntent has a status of {setup['status']}.")
        name = asked.get("payment_method") or setup["payment_method"]
        if not name:
            raise StripeError(400, "parameter_missing", "A payment method is needed.", param="payment_method")
        method = self.books.card_named(name, customer=setup["customer"])
        return self._set_up(setup, method)

    def _set_up(self, setup: Record, method: Record) -> Record:
        card = self.books.behaviour(method)
        if card.decline and card.number not in SAVEABLE_ALTHOUGH_DECLINED:
            error = {
                "type": "card_error", "code": "card_declined", "decline_code": card.decline, "message": "Your card was declined.",
            }  # fmt: skip
            setup["last_setup_error"] = error
            self.books.keep(setup)
            self.books.emit("setup_intent.setup_failed", setup)
            raise StripeError(402, "card_declined", "Your card was declined.", kind="card_error", decline_code=card.decline)
        if setup["customer"]:
            self.books.attach(method, customer=setup["customer"])
        setup.update(status="succeeded", payment_method=method["id"], last_setup_error=None)
        self.books.keep(setup)
        self.books.emit("setup_intent.succeeded", setup)
        return setup

    def save_card(self, session: Record, *, number: str) -> Record:
        if self.refresh(session)["status"] != "open" or session["mode"] != "setup":
            raise StripeError(400, None, "This Checkout Session is no longer open.")
        setup = self.books.get("setup_intent", session["setup_intent"])
        self._set_up(setup, self.books.new_card(_known_card(number)))
        session.update(status="complete", url=None)
        self.books.keep(session)
        self.books.emit("checkout.session.completed", session)
        return setup


def _known_card(number: str) -> TestCard:
    card = BY_NUMBER.get("".join(filter(str.isdigit, number)))
    if card is None:
        raise StripeError(402, "incorrect_number", "Your card number is incorrect.", kind="card_error")
    return card


def _kept(session: Record) -> Record:
    usage = session["_intent"].get("setup_future_usage")
    return {"setup_future_usage": usage} if usage else {}


def _lines(asked: Record) -> list[str]:
    return [str(line["price_data"]["product_data"]["name"]) for line in asked.get("line_items") or () if "price_data" in line]


def _total(asked: Record) -> int:
    total = 0
    for number, line in enumerate(asked.get("line_items") or ()):
        price = line.get("price_data")
        if not price or "unit_amount" not in price or not price.get("product_data"):
            where = f"line_items[{number}][price_data]"
            raise StripeError(400, "parameter_missing", f"{where} needs unit_amount and product_data here.", param=where)
        if price["currency"] != "brl":
            raise StripeError(400, "currency_not_supported", f"Invalid currency: {price['currency']}", param="line_items")
        total += int(price["unit_amount"]) * int(line.get("quantity", 1))
    if total < 50:
        raise StripeError(400, "amount_too_small", "The Checkout Session's total must be at least R$ 0.50.", param="line_items")
    return total
