"""What a call cost, as the caller reads it: exact decimals in reais, written digit by digit, never through a float."""

from __future__ import annotations

import random
from functools import lru_cache

import msgspec

from gateway.lanes import Settled


@lru_cache(maxsize=1_024)  # the same amount is written up to four times per call
def decimal_brl(nanos: int) -> bytes:
    """A JSON number, exact to the nano: 1_500_000_000 → 1.5, 1 → 0.000000001."""
    whole, part = divmod(abs(nanos), 1_000_000_000)
    sign = b"-" if nanos < 0 else b""
    if not part:
        return b"%b%d" % (sign, whole)
    return b"%b%d.%b" % (sign, whole, (b"%09d" % part).rstrip(b"0"))


def with_cost(usage_raw: bytes, settled: Settled) -> bytes:
    """The usage object with `cost` and `cost_details` appended to its own bytes."""
    usage_raw = usage_raw.strip()
    if b'"cost' in usage_raw:  # an upstream that names a cost means another one
        members = msgspec.json.decode(usage_raw, type=dict[str, msgspec.Raw])
        for name in ("cost", "cost_details", "is_byok"):
            members.pop(name, None)
        usage_raw = msgspec.json.encode(members)
    details = b'{"currency":"BRL","list_cost":%b,"discount":%b%b}' % (
        decimal_brl(settled.gross_nanos),
        decimal_brl(settled.gross_nanos - settled.net_nanos),
        b',"is_estimate":true' if settled.is_estimate else b"",
    )
    if settled.is_own_key:  # OpenRouter's word: the cost is our fee, the provider's is on the customer's own bill there
        details += b',"is_byok":true'
    return b'%b,"cost":%b,"cost_details":%b}' % (usage_raw[:-1].rstrip(), decimal_brl(settled.net_nanos), details)


def cost_header(settled: Settled) -> tuple[bytes, bytes]:
    return (b"x-tokia-cost-brl", decimal_brl(settled.net_nanos))


# ── Written before it is settled ─────────────────────────────────────────────────────────────────────────────────────
class CostMarks(msgspec.Struct, frozen=True):
    """Numbers that stand where a cost will, in an answer that is kept before it is settled. Drawn by each process: no text that
    comes from outside has them by chance, and none that leaves has them at all."""

    net: bytes
    gross: bytes
    discount: bytes

    def fill(self, text: bytes, settled: Settled, *, note: bytes = b"") -> bytes:
        """The same text with what the call came to. `note`: members to add to `cost_details`."""
        discount = decimal_brl(settled.gross_nanos - settled.net_nanos) + note
        if settled.is_estimate:
            discount += b',"is_estimate":true'
        filled = text.replace(self.net, decimal_brl(settled.net_nanos)).replace(self.gross, decimal_brl(settled.gross_nanos))
        return filled.replace(self.discount, discount)


def _draw_unsettled() -> Settled:
    """Amounts of eighteen digits, as is their difference, none of which ends in a zero that would not be written."""
    rng = random.SystemRandom()
    while True:
        gross, net = rng.randrange(6 * 10**17, 9 * 10**17), rng.randrange(10**17, 4 * 10**17)
        if gross % 10 and net % 10 and (gross - net) % 10:
            return Settled(gross, net)


UNSETTLED = _draw_unsettled()
MARKS = CostMarks(
    decimal_brl(UNSETTLED.net_nanos), decimal_brl(UNSETTLED.gross_nanos), decimal_brl(UNSETTLED.gross_nanos - UNSETTLED.net_nanos)
)
