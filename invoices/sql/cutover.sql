-- One wallet's books as they stood when a month had closed (is_now: as they stand), for `invoices/cutover.py`; one statement, so one
-- snapshot.
-- Rows of (what, at, month, amount, id):
--   'used'     how far paid money was used by then (Wallet.paid_used_nanos, less what came after)
--   'lot'      a paid lot: its size now, when it came, its entry; 'taken' what was withdrawn of it
--   'debt'     a call, or calls of one batch, that the wallet could not pay: when booked, the month of the call; id 1: told by a
--              close until then, 0: not yet
--   'disputed' a dispute or reversal that the wallet could not pay: when; id: its entry
--   'settled'  a debt paid by money that came in: when, by which entry; 'forgiven' by promotional money

WITH told AS (  -- per month: how much gross the closes until then have told of it
  SELECT s.month, s.gross_nanos AS gross,
         CASE WHEN %(is_now)s THEN s.gross_nanos WHEN s.month > %(month)s THEN 0 ELSE
           coalesce((SELECT c.gross_nanos FROM billing_monthclose c WHERE c.wallet_id = s.wallet_id AND c.month = s.month), 0)
           + coalesce((SELECT sum((x.adjustments -> s.month::text ->> 'gross')::bigint) FROM billing_monthclose x
                       WHERE x.wallet_id = s.wallet_id AND x.month <= %(month)s AND x.adjustments ? s.month::text), 0) END AS told
  FROM billing_monthspend s WHERE s.wallet_id = %(wallet)s
), owing AS (  -- days on which something was not paid
  SELECT DISTINCT d.day FROM billing_usageday d
  WHERE d.organization_id = (SELECT organization_id FROM billing_wallet WHERE id = %(wallet)s) AND d.overdraft_nanos > 0
), days AS (
  SELECT day,
         (lpad(to_hex((extract(epoch FROM timezone('America/Sao_Paulo', day::timestamp)) * 1000)::bigint), 12, '0')
          || repeat('0', 20))::uuid AS first_id,
         (lpad(to_hex((extract(epoch FROM timezone('America/Sao_Paulo', day::timestamp + interval '1 day')) * 1000)::bigint), 12, '0')
          || repeat('0', 20))::uuid AS end_id
  FROM owing
), debts AS (
  SELECT e.created_at AS at, u.month, sum(u.overdraft_nanos)::bigint AS amount, (u.gross_before_nanos < t.told)::int AS is_told,
         e.id AS entry_id
  FROM days d
  JOIN billing_usagerecord u ON u.organization_id = (SELECT organization_id FROM billing_wallet WHERE id = %(wallet)s)
    AND u.id >= d.first_id AND u.id < d.end_id AND u.overdraft_nanos > 0
  JOIN billing_ledgerentry e ON e.id = u.entry_id
  JOIN told t ON t.month = u.month
  GROUP BY e.id, u.month, is_told
), settled AS (
  SELECT e.id, e.created_at AS at, e.kind, l.kind AS lot_kind, p.amount_nanos AS amount
  FROM billing_posting p JOIN billing_ledgerentry e ON e.id = p.entry_id LEFT JOIN billing_lot l ON l.entry_id = e.id
  WHERE p.wallet_id = %(wallet)s AND p.destination = 'overdraft:' || %(wallet)s AND p.source = 'wallet:' || %(wallet)s
), after AS (  -- of paid money, since
  SELECT coalesce((SELECT sum(d.paid_nanos) FROM billing_usageday d
                   WHERE d.organization_id = (SELECT organization_id FROM billing_wallet WHERE id = %(wallet)s)
                     AND d.day >= %(next)s AND NOT %(is_now)s), 0)
       + coalesce((SELECT sum(u.paid_nanos) FROM told t JOIN billing_usagerecord u
                     ON u.wallet_id = %(wallet)s AND u.month = t.month AND u.gross_before_nanos >= t.told
                   WHERE t.month <= %(month)s AND t.gross > t.told), 0)
       + coalesce((SELECT sum(s.amount) FROM settled s WHERE s.at >= %(ends_at)s AND s.lot_kind = 'paid' AND NOT %(is_now)s), 0) AS amount
)
SELECT 'used' AS what, NULL::timestamptz AS at, NULL::date AS month, (w.paid_used_nanos - after.amount)::bigint AS amount, 0::bigint AS id
FROM billing_wallet w, after WHERE w.id = %(wallet)s
UNION ALL
SELECT 'lot', l.created_at, NULL, l.amount_nanos - l.withdrawn_nanos - l.reserved_nanos, l.entry_id
FROM billing_lot l WHERE l.wallet_id = %(wallet)s AND l.kind = 'paid'
UNION ALL
SELECT 'taken', l.created_at, NULL, l.withdrawn_nanos, l.entry_id
FROM billing_lot l WHERE l.wallet_id = %(wallet)s AND l.kind = 'paid' AND l.withdrawn_nanos > 0
UNION ALL
SELECT 'debt', at, month, amount, is_told::bigint FROM debts
UNION ALL
SELECT 'disputed', e.created_at, NULL, p.amount_nanos, e.id
FROM billing_posting p JOIN billing_ledgerentry e ON e.id = p.entry_id
WHERE p.wallet_id = %(wallet)s AND p.source = 'overdraft:' || %(wallet)s AND p.destination <> 'revenue:usage'
UNION ALL
SELECT CASE WHEN s.lot_kind = 'paid' THEN 'settled' ELSE 'forgiven' END, s.at, NULL, s.amount, s.id FROM settled s
