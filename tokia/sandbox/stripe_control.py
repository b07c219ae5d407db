"""What only the sandbox's Stripe can do: faults, its clock, disputes, refunds that end, and how events are delivered.

| POST /stripe/api/… | body |
|---|---|
| `hook` | `url`, `secret`: where events go |
| `hold`, `deliver` | —, then `type`, `event`, `is_reversed`, `times`, `age_seconds`, `is_tampered`, `secret` |
| `faults`, `clock`, `settings`, `reset` | as the bank's: `{"create": ["timeout"], "charge": [{"kind": "decline", "code": "…"}]}` |
| `pay-pix/<pi>` | the payer's bank sends the Pix |
| `dispute/<pi>` | `amount`, `is_withdrawn`, `is_inquiry` |
| `withdraw/<dispute>`, `close-dispute/<dispute>` | — / `outcome`: won or lost |
| `finish-refund/<re>` | `is_failed` |
| `refund/<pi>` | `amount`: as on the dashboard, without our metadata |
"""

from __future__ import annotations

from dataclasses import dataclass

from tokia.sandbox.asgi import Json, Request, Response, json_response
from tokia.sandbox.stripe_books import FAULTS_BY_OPERATION, Books, Record, StripeError, public
from tokia.sandbox.stripe_hooks import StripeCourier
from tokia.sandbox.stripe_payments import Payments
from tokia.sandbox.stripe_sessions import Sessions

TIMES_MAX = 1_000


@dataclass
class StripeControl:
    books: Books
    payments: Payments
    sessions: Sessions
    courier: StripeCourier

    async def serve(self, request: Request, path: str) -> Response:
        verb, _, rest = path.strip("/").partition("/")
        try:
            if request.method == "GET" and verb == "state":
                return json_response(self._state())
            if request.method != "POST":
                return json_response({"error": "POST, or GET state"}, status=404)
            body = request.json_object()
            answer = await self._deliver(body) if verb == "deliver" else self._act(verb, rest, body)
        except StripeError as error:
            return json_response({"error": error.body}, status=error.status)
        if answer is None:
            return json_response({"error": f"no such control: {verb}"}, status=404)
        return json_response(answer)

    def _act(self, verb: str, rest: str, body: Record) -> Json:
        if verb == "hook":
            self.courier.url, self.courier.secret = str(body["url"]), str(body["secret"])
            return {"url": self.courier.url}
        if verb == "hold":
            self.courier.is_held = bool(body.get("is_held", True))
            return {"is_held": self.courier.is_held}
        if verb == "faults":
            return self._script(body)
        if verb == "clock":
            self.books.offset_seconds = float(body.get("offset_seconds", 0))
            return {"now": self.books.now()}
        if verb == "settings":
            self.books.has_pix = bool(body.get("has_pix", self.books.has_pix))
            self.books.refund_seconds = float(body.get("refund_ms", self.books.refund_seconds * 1000)) / 1000
            return {"has_pix": self.books.has_pix, "refund_ms": self.books.refund_seconds * 1000}
        if verb == "reset":
            self.payments.close()
            self.courier.forget_everything()
            self.courier.is_held = False
            self.books.forget_everything()
            return {"reset": True}
        return self._move(verb, rest, body)

    def _move(self, verb: str, rest: str, body: Record) -> Json:
        if verb == "pay-pix":
            intent = self.payments.pay_pix(self.books.get("payment_intent", rest))
            if session := self.sessions.session_of(intent):
                self.sessions.complete(session, intent)
            return public(intent)
        if verb == "dispute":
            intent = self.books.get("payment_intent", rest)
            return public(
                self.payments.open_dispute(
                    intent, amount=body.get("amount"), is_withdrawn=bool(body.get("is_withdrawn", True)),
                    is_inquiry=bool(body.get("is_inquiry", False)),
                )
            )  # fmt: skip
        if verb == "withdraw":
            return public(self.payments.withdraw(self.books.get("dispute", rest)))
        if verb == "close-dispute":
            return public(self.payments.close_dispute(self.books.get("dispute", rest), outcome=str(body.get("outcome", "lost"))))
        if verb == "finish-refund":
            refund = self.books.get("refund", rest)
            return public(self.payments.finish_refund(refund, is_failed=bool(body.get("is_failed", False))))
        if verb == "refund":
            asked = {"payment_intent": rest, **({"amount": int(body["amount"])} if "amount" in body else {})}
            return public(self.payments.create_refund(asked))
        return None

    async def _deliver(self, body: Record) -> Json:
        """What was held, or the events named, or all of a type; the answers' statuses, in the sequence of sending."""
        events = list(self.courier.held)
        if "event" in body:
            events = [self.books.get("event", str(body["event"]))]
        elif "type" in body:
            events = [event for event in self.books.all("event") if event["type"] == body["type"]]
        if body.get("is_reversed"):
            events.reverse()
        times = int(body.get("times", 1))
        if not 1 <= times <= TIMES_MAX:
            raise ValueError(f"1 to {TIMES_MAX} times")
        self.courier.held.clear()
        self.courier.is_held = False
        statuses = []
        for event in events:
            statuses += await self.courier.send(
                event, times=times, age_seconds=int(body.get("age_seconds", 0)), is_tampered=bool(body.get("is_tampered", False)),
                secret=str(body.get("secret", "")),
            )  # fmt: skip
        return {"sent": [event["type"] for event in events], "statuses": statuses}

    def _script(self, body: Record) -> Json:
        times = int(body.get("times", 1))
        unknown = set(body) - set(FAULTS_BY_OPERATION) - {"times"}
        if unknown or not 1 <= times <= TIMES_MAX:
            raise ValueError(f"operations: {', '.join(FAULTS_BY_OPERATION)}; not {sorted(unknown)}")
        for operation in FAULTS_BY_OPERATION:
            specs = body.get(operation, [])
            for spec in specs if isinstance(specs, list) else [specs]:
                fault = spec if isinstance(spec, dict) else {"kind": str(spec)}
                self.books.add_fault(operation=operation, fault=fault, times=times)
        return {"pending": {operation: list(queue) for operation, queue in self.books.faults.items() if queue}}

    def _state(self) -> Json:
        return {
            "now": self.books.now(),
            "objects": [public(record) for record in self.books.objects.values() if record["object"] != "event"],
            "events": [{"id": event["id"], "type": event["type"]} for event in self.books.all("event")],
            "held": len(self.courier.held),
            "deliveries": list(self.courier.deliveries),
            "keys": sorted(self.books.keys),
        }
