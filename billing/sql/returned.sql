-- What went back to who paid, top-up by top-up, of some wallets: (entry of the top-up, or nothing where none is known; the reference
-- of what happened; when; nanos, below zero where a dispute was won). Read by billing/billable.py.

WITH moved AS (
  SELECT e.id, e.kind, e.reference, e.reverses_id, e.created_at, p.wallet_id,
         sum(CASE WHEN p.destination LIKE 'world:%%' THEN p.amount_nanos ELSE -p.amount_nanos END)::bigint AS nanos
  FROM billing_posting p JOIN billing_ledgerentry e ON e.id = p.entry_id
  WHERE p.wallet_id = ANY(%s::bigint[]) AND p.destination <> 'revenue:usage' AND e.kind IN ('dispute', 'reversal')
    AND (p.source LIKE 'world:%%' OR p.destination LIKE 'world:%%')
  GROUP BY e.id, p.wallet_id
)
SELECT CASE
         WHEN m.kind = 'reversal' THEN m.reverses_id
         WHEN m.reference LIKE 'dispute:%%' THEN (
           SELECT t.id FROM billing_dispute d JOIN billing_cardpayment c ON c.id = d.payment_id
           JOIN billing_ledgerentry t ON t.reference = 'stripe:' || c.intent_id
           WHERE d.stripe_id = split_part(m.reference, ':', 2))
         WHEN m.reference LIKE 'stripe-refund:%%' THEN (
           SELECT t.id FROM billing_refund r JOIN billing_cardpayment c ON c.id = r.card_payment_id
           JOIN billing_ledgerentry t ON t.reference = 'stripe:' || c.intent_id
           WHERE r.stripe_id = substr(m.reference, 15))
         ELSE coalesce(
           (SELECT t.id FROM billing_event v JOIN billing_ledgerentry t ON t.reference = 'pix:' || (v.payload ->> 'reference')
            WHERE v.reference = m.reference),
           -- a refund of ours that the bank refused first and made all the same: nobody was told of a dispute
           (SELECT l.entry_id FROM billing_refund r JOIN billing_lot l ON l.id = r.lot_id
            WHERE l.wallet_id = m.wallet_id AND r.status = 'refused' AND r.amount_nanos = m.nanos
            ORDER BY r.created_at DESC LIMIT 1))
       END AS entry_id, m.reference, m.created_at, m.nanos
FROM moved m
WHERE m.nanos <> 0

UNION ALL
SELECT coalesce(t.id, l.entry_id), 'refund:' || r.id, r.done_at, r.amount_nanos
FROM billing_refund r JOIN billing_lot l ON l.id = r.lot_id
LEFT JOIN billing_cardpayment c ON c.id = r.card_payment_id
LEFT JOIN billing_ledgerentry t ON t.reference = 'stripe:' || c.intent_id
WHERE l.wallet_id = ANY(%s::bigint[]) AND r.status = 'done' AND r.returned_at IS NULL
