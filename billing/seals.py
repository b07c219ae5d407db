"""The chain over the books: sealing what is new, and finding the first link that no longer holds.

`billing/sql/seals.sql` says what a link's content is; the chain itself is recomputed here, with another hand than the one that
sealed. A link breaks when an entry, one of its postings or usage records was changed, added or removed, or a link itself was. That
the whole chain was made anew is seen by whoever kept a head: each night's check keeps one and tells it to the log, and closings,
recibos and statements show theirs.
"""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from dataclasses import dataclass

from django.db import connection
from django.utils.translation import gettext

from billing import ledger
from billing.figures import tell_count
from billing.models import LedgerSeal, MonthClose, SealCheck

GENESIS = bytes(32)
SEAL_AT_ONCE = 2_000
CHECK_AT_ONCE = 1_000
SEALED_WITHIN_HOURS = 25  # a night has passed, which seals everything

log = logging.getLogger("billing.seals")


@dataclass(frozen=True, slots=True)
class Head:
    """The newest link; seq 0 where nothing was sealed."""

    seq: int
    digest: bytes

    @property
    def text(self) -> str:
        """As people compare it: `nº 1.234 · 9f86d081 884c7d65`."""
        digits = self.digest.hex()[:16]
        return gettext("nº {number}").format(number=tell_count(self.seq)) + f" · {digits[:8]} {digits[8:]}"


@dataclass(frozen=True, slots=True)
class Broken:
    """The first link that does not hold, and why, as a sentence for a person."""

    seq: int
    detail: str


def seal_entries(*, everything: bool = False, seconds: float = 40.0) -> int:
    """Seal what is not sealed yet, of the last hours or of all time, in batches, for at most so long; returns how many links."""
    ends = time.monotonic() + seconds
    made = 0
    while True:
        links = int(ledger.call_function("billing_seal", SEAL_AT_ONCE, everything))
        made += links
        if links < SEAL_AT_ONCE or time.monotonic() > ends:
            return made


def head() -> Head:
    newest = LedgerSeal.objects.order_by("-seq").first()
    return Head(newest.seq, bytes(newest.digest)) if newest else Head(0, GENESIS)


def seal_of(entry_id: int) -> LedgerSeal | None:
    return LedgerSeal.objects.filter(entry_id=entry_id).first()


def verify(*, after_seq: int = 0, seconds: float | None = None) -> tuple[int, Broken | None]:
    """Recompute the chain after a link that holds, until its end, the first broken link, or the time is over.

    Returns the last link that was looked at, and what is broken.
    """
    before = LedgerSeal.objects.filter(seq=after_seq).first() if after_seq else None
    if after_seq and before is None:
        return after_seq, Broken(after_seq, f"O elo nº {after_seq} não existe mais.")
    previous = bytes(before.digest) if before else GENESIS
    ends = time.monotonic() + seconds if seconds else None
    at = after_seq
    while True:
        links = list(LedgerSeal.objects.filter(seq__gt=at).order_by("seq")[:CHECK_AT_ONCE])
        if not links:
            return at, None
        items = _items(links)
        for link in links:
            if link.seq != at + 1:
                return at, Broken(at + 1, f"O elo nº {at + 1} não existe mais.")
            item = items.get(link.entry_id or link.call_id)
            if item is None:
                return link.seq, Broken(link.seq, f"O elo nº {link.seq} sela {_what(link)}, que não existe mais.")
            if hashlib.sha256(previous + item).digest() != bytes(link.digest):
                return link.seq, Broken(link.seq, f"O elo nº {link.seq} não confere: {_what(link)} ou o próprio elo foi alterado.")
            previous, at = bytes(link.digest), link.seq
        if ends is not None and time.monotonic() > ends:
            return at, None


def _items(links: list[LedgerSeal]) -> dict[int | uuid.UUID | None, bytes]:
    entries = [link.entry_id for link in links if link.entry_id is not None]
    calls = [link.call_id for link in links if link.call_id is not None]
    rows = ledger.call_table("SELECT entry_id, call_id, item FROM billing_seal_items(%s, %s)", entries, calls)
    return {entry_id or call_id: bytes(item) for entry_id, call_id, item in rows}


def _what(link: LedgerSeal) -> str:
    if link.entry_id is not None:
        return f"o lançamento {link.entry_id} (com suas partidas e requisições)"
    return f"a requisição gratuita {link.call_id}"


_UNSEALED = """
    WITH first AS (SELECT min(sealed_at) AS at, clock_timestamp() - make_interval(hours => %s) AS until FROM billing_ledgerseal)
    SELECT 'lançamento ' || e.id FROM billing_ledgerentry e, first
    WHERE e.created_at BETWEEN first.at AND first.until
      AND NOT EXISTS (SELECT 1 FROM billing_ledgerseal s WHERE s.entry_id = e.id)
    UNION ALL
    SELECT 'requisição ' || u.id FROM first, billing_usagerecord u JOIN billing_settledbatch b ON b.id = u.batch_id
    WHERE u.entry_id IS NULL AND b.created_at BETWEEN first.at AND first.until
      AND NOT EXISTS (SELECT 1 FROM billing_ledgerseal s WHERE s.call_id = u.id)
    LIMIT 1
"""


def find_unsealed() -> Broken | None:
    """An entry or a free call that has long been in the books without a link: nobody seals. Nothing from before the first link."""
    with connection.cursor() as cursor:
        cursor.execute(_UNSEALED, [SEALED_WITHIN_HOURS])
        found = cursor.fetchone()
    return Broken(head().seq + 1, f"Sem selo há tempo demais: {found[0]}.") if found else None


def find_lost_head() -> Broken | None:
    """Closed months and earlier checks know heads of the chain; it must still have them. The lowest that it has not."""
    known = dict(MonthClose.everywhere.filter(seal_seq__gt=0).values_list("seal_seq", "seal_digest").distinct())
    known |= dict(SealCheck.objects.filter(head_seq__gt=0, broken_seq=None).values_list("head_seq", "head_digest"))
    kept = dict(LedgerSeal.objects.filter(seq__in=known).values_list("seq", "digest"))
    for seq in sorted(known):
        if seq not in kept or bytes(kept[seq]) != bytes(known[seq]):
            return Broken(seq, f"Um fechamento ou uma conferência registrou outro selo no nº {seq}: a corrente foi refeita.")
    return None


def check_chain(*, seconds: float | None = None, from_start: bool = False) -> SealCheck:
    """One run of the verifier, written down: it goes on where the last one ran out of time, else begins at the first link.

    Its head is told to the log, which is kept elsewhere. What is broken is an alarm; nothing is repaired.
    """
    last = SealCheck.objects.order_by("-pk").first()
    goes_on = last is not None and not from_start and last.broken_seq is None and last.last_seq < last.head_seq
    after = last.last_seq if goes_on and last is not None else 0
    newest = head()
    broken = find_lost_head() or find_unsealed()
    at, found = verify(after_seq=after, seconds=seconds)
    broken = found or broken
    check = SealCheck.objects.create(
        first_seq=after + 1, last_seq=at, head_seq=newest.seq, head_digest=newest.digest,
        broken_seq=broken.seq if broken else None, detail=broken.detail if broken else "",
    )  # fmt: skip
    if broken:
        log.critical("the sealed ledger was changed", extra={"seq": broken.seq, "detail": broken.detail})
    log.info("the ledger's seal", extra={"seq": newest.seq, "digest": newest.digest.hex(), "checked_to": at})
    return check
