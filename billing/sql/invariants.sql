-- MONEY's invariants as one query in one snapshot: no row is the only right answer. (number and rule, whose, what is wrong)

WITH moved AS (  -- per book: Σ in − Σ out
  SELECT book, sum(amount)::bigint AS balance FROM (
    SELECT destination AS book, amount_nanos AS amount FROM billing_posting
    UNION ALL SELECT source, -amount_nanos FROM billing_posting) b
  GROUP BY book
), lots AS (
  SELECT wallet_id, kind, sum(amount_nanos - withdrawn_nanos)::bigint AS size, sum(reserved_nanos)::bigint AS reserved
  FROM billing_lot GROUP BY wallet_id, kind
), used AS (
  SELECT wallet_id, month, sum(gross_nanos)::bigint AS gross, sum(net_nanos)::bigint AS net, count(*) AS calls
  FROM billing_usagerecord GROUP BY wallet_id, month
), pix_in AS (  -- what each payment brought in, by its endToEndId
  SELECT substr(e.reference, 5) AS end_to_end_id, sum(p.amount_nanos)::bigint AS amount
  FROM billing_ledgerentry e JOIN billing_posting p ON p.entry_id = e.id AND p.source = 'world:pix'
  WHERE e.kind = 'top_up' AND e.reference LIKE 'pix:%' GROUP BY e.reference
), stripe_in AS (  -- what each payment by Stripe brought in, by its intent
  SELECT substr(e.reference, 8) AS intent_id, sum(p.amount_nanos)::bigint AS amount
  FROM billing_ledgerentry e JOIN billing_posting p ON p.entry_id = e.id AND p.source = 'world:stripe'
  WHERE e.kind = 'top_up' AND e.reference LIKE 'stripe:%' GROUP BY e.reference
)
SELECT '1 a posting moves a positive amount, of the wallet it names' AS rule, p.id::text AS whose, p.source || ' → ' || p.destination AS what
FROM billing_posting p
WHERE p.source = p.destination OR p.amount_nanos <= 0
   OR (p.wallet_id IS NOT NULL AND NOT ARRAY['wallet:' || p.wallet_id, 'overdraft:' || p.wallet_id] && ARRAY[p.source, p.destination]::text[])
   OR (p.wallet_id IS NULL AND (p.source || p.destination) LIKE ANY (ARRAY['%wallet:%', '%overdraft:%']))

UNION ALL
SELECT '1 an entry has postings', e.id::text, e.reference FROM billing_ledgerentry e
WHERE NOT EXISTS (SELECT 1 FROM billing_posting p WHERE p.entry_id = e.id)

UNION ALL
SELECT '2 posted = in − out of its postings', w.id::text, format('%s, not %s', w.posted_nanos, coalesce(m.balance, 0))
FROM billing_wallet w LEFT JOIN moved m ON m.book = 'wallet:' || w.id WHERE w.posted_nanos <> coalesce(m.balance, 0)

UNION ALL
SELECT '2 posted = lots − use, promotional and paid', w.id::text,
       format('promo %s, not %s; paid %s, not %s', w.promo_nanos, coalesce(g.size, 0) - w.promo_used_nanos,
              w.posted_nanos - w.promo_nanos, coalesce(b.size, 0) - w.paid_used_nanos)
FROM billing_wallet w
LEFT JOIN lots g ON g.wallet_id = w.id AND g.kind = 'promo' LEFT JOIN lots b ON b.wallet_id = w.id AND b.kind = 'paid'
WHERE w.promo_nanos <> coalesce(g.size, 0) - w.promo_used_nanos
   OR w.posted_nanos - w.promo_nanos <> coalesce(b.size, 0) - w.paid_used_nanos
   OR w.posted_nanos - w.promo_nanos < coalesce(b.reserved, 0)

UNION ALL
SELECT '3 held = open holds', w.id::text, format('%s, not %s', w.held_nanos, coalesce(h.amount, 0))
FROM billing_wallet w
LEFT JOIN (SELECT wallet_id, sum(amount_nanos)::bigint AS amount FROM billing_hold GROUP BY wallet_id) h ON h.wallet_id = w.id
WHERE w.held_nanos <> coalesce(h.amount, 0)

UNION ALL
SELECT '3 a lot reserves what refunds hold', l.id::text, format('%s, not %s', l.reserved_nanos, coalesce(h.amount, 0))
FROM billing_lot l
LEFT JOIN (SELECT lot_id, sum(amount_nanos)::bigint AS amount FROM billing_hold WHERE purpose = 'refund' GROUP BY lot_id) h ON h.lot_id = l.id
WHERE l.reserved_nanos <> coalesce(h.amount, 0)

UNION ALL
SELECT '4 available is never below zero', id::text, format('posted %s, held %s', posted_nanos, held_nanos)
FROM billing_wallet WHERE posted_nanos < held_nanos OR held_nanos < 0

UNION ALL
SELECT '5 a call is held, recorded or expired: one of them', h.id::text, 'open hold and usage record'
FROM billing_hold h JOIN billing_usagerecord u ON u.id = h.id
UNION ALL
SELECT '5 a call is held, recorded or expired: one of them', h.id::text, 'open hold and expired hold'
FROM billing_hold h JOIN billing_expiredhold x ON x.id = h.id
UNION ALL
SELECT '5 a call is held, recorded or expired: one of them', u.id::text, 'recorded and expired, but not late; or late, but not expired'
FROM billing_usagerecord u LEFT JOIN billing_expiredhold x ON x.id = u.id WHERE u.is_late <> (x.id IS NOT NULL)

UNION ALL
SELECT '6 usage = revenue, per entry', coalesce(u.entry_id, p.entry_id)::text, format('%s, not %s', coalesce(u.net, 0), coalesce(p.amount, 0))
FROM (SELECT entry_id, sum(net_nanos)::bigint AS net FROM billing_usagerecord WHERE entry_id IS NOT NULL OR net_nanos > 0 GROUP BY entry_id) u
FULL JOIN (SELECT p.entry_id, sum(p.amount_nanos)::bigint AS amount FROM billing_posting p
           WHERE p.destination = 'revenue:usage' GROUP BY p.entry_id) p ON p.entry_id = u.entry_id
WHERE coalesce(u.net, 0) <> coalesce(p.amount, 0)

UNION ALL
SELECT '6 no quantity is below zero', id::text, surface FROM billing_usagerecord
WHERE least(input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, requests, audio_input_tokens,
            audio_output_tokens, image_input_tokens, image_output_tokens, images, audio_seconds, characters, searches) < 0

UNION ALL
SELECT '7 month = its calls', coalesce(s.wallet_id, u.wallet_id)::text, coalesce(s.month, u.month)::text
FROM billing_monthspend s FULL JOIN used u ON u.wallet_id = s.wallet_id AND u.month = s.month
WHERE (coalesce(s.gross_nanos, 0), coalesce(s.net_nanos, 0), coalesce(s.calls, 0))
   <> (coalesce(u.gross, 0), coalesce(u.net, 0), coalesce(u.calls, 0))
UNION ALL
SELECT '7 a call is in the month of its id', u.id::text, u.month::text FROM billing_usagerecord u WHERE u.month <> billing_month_of_id(u.id)

UNION ALL
SELECT '8 month net = F(month gross)', s.wallet_id::text, s.month::text
FROM billing_monthspend s
LEFT JOIN (SELECT plan_id, array_agg(above_nanos ORDER BY above_nanos) AS above, array_agg(discount_bps ORDER BY above_nanos) AS bps
           FROM billing_volumetier GROUP BY plan_id) t ON t.plan_id = s.volume_plan_id
WHERE s.net_nanos <> billing_net_of(s.gross_nanos, t.above, t.bps)

UNION ALL
SELECT '9 positions tile the month', u.id::text, format('at %s, not %s', u.gross_before_nanos, u.expected)
FROM (SELECT id, gross_before_nanos, coalesce(sum(gross_nanos) OVER (
               PARTITION BY wallet_id, month ORDER BY gross_before_nanos, gross_nanos, id
               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::bigint AS expected
      FROM billing_usagerecord) u
WHERE u.gross_before_nanos <> u.expected

UNION ALL
SELECT '10 a payment is credited at the amount received', e.reference, format('lot %s, received %s', l.amount_nanos, i.amount)
FROM pix_in i JOIN billing_ledgerentry e ON e.reference = 'pix:' || i.end_to_end_id
LEFT JOIN billing_lot l ON l.entry_id = e.id AND l.kind = 'paid' WHERE l.amount_nanos IS DISTINCT FROM i.amount
UNION ALL
SELECT '10 a charge received what was credited', c.txid, format('%s, not %s', c.received_nanos, coalesce(sum(i.amount), 0))
FROM billing_charge c
LEFT JOIN LATERAL jsonb_array_elements(c.payments) p ON true
LEFT JOIN pix_in i ON i.end_to_end_id = p ->> 'endToEndId'
GROUP BY c.id HAVING c.received_nanos <> coalesce(sum(i.amount), 0)

UNION ALL
SELECT '10 a payment is credited at the amount received', e.reference, format('lot %s, received %s', l.amount_nanos, i.amount)
FROM stripe_in i JOIN billing_ledgerentry e ON e.reference = 'stripe:' || i.intent_id
LEFT JOIN billing_lot l ON l.entry_id = e.id AND l.kind = 'paid' WHERE l.amount_nanos IS DISTINCT FROM i.amount
UNION ALL
SELECT '10 a payment by Stripe received what was credited', coalesce(c.id::text, i.intent_id), format('%s, not %s', c.received_nanos, i.amount)
FROM billing_cardpayment c FULL JOIN stripe_in i ON i.intent_id = c.intent_id
WHERE coalesce(c.received_nanos, 0) <> coalesce(i.amount, 0) OR (c.status = 'paid') IS DISTINCT FROM (i.amount IS NOT NULL) AND c.id IS NOT NULL

UNION ALL
SELECT '11 refunds ≤ captured', c.intent_id, format('%s of %s', sum(r.amount_nanos), c.received_nanos)
FROM billing_refund r JOIN billing_cardpayment c ON c.id = r.card_payment_id
WHERE r.status <> 'refused' AND r.returned_at IS NULL
GROUP BY c.id HAVING sum(r.amount_nanos) > c.received_nanos
UNION ALL
SELECT '11 a refund that came back was given again', r.id::text, r.status
FROM billing_refund r LEFT JOIN billing_ledgerentry e ON e.reference = 'refund:' || r.id || ':returned'
WHERE (r.returned_at IS NOT NULL) <> (e.id IS NOT NULL)
UNION ALL
SELECT '11 a dispute took what Stripe holds', d.stripe_id, format('%s, not %s', coalesce(m.amount, 0), CASE WHEN d.is_withdrawn THEN d.amount_nanos ELSE 0 END)
FROM billing_dispute d
LEFT JOIN LATERAL (
  SELECT sum(CASE WHEN p.destination = 'world:stripe' THEN p.amount_nanos ELSE -p.amount_nanos END)::bigint AS amount
  FROM billing_ledgerentry e JOIN billing_posting p ON p.entry_id = e.id AND 'world:stripe' IN (p.source, p.destination)
  WHERE e.kind = 'dispute' AND e.reference LIKE 'dispute:' || d.stripe_id || ':%') m ON true
WHERE coalesce(m.amount, 0) <> CASE WHEN d.is_withdrawn THEN d.amount_nanos ELSE 0 END
UNION ALL
SELECT '11 refunds ≤ captured', r.end_to_end_id, format('%s of %s', r.amount, coalesce(i.amount, u.amount_nanos, 0))
FROM (SELECT end_to_end_id, sum(amount_nanos)::bigint AS amount FROM billing_refund
      WHERE status <> 'refused' AND end_to_end_id <> '' GROUP BY end_to_end_id) r
LEFT JOIN pix_in i USING (end_to_end_id) LEFT JOIN billing_unmatchedpix u USING (end_to_end_id)
WHERE r.amount > coalesce(i.amount, u.amount_nanos, 0)
UNION ALL
SELECT '11 what left a lot is within what came in', l.id::text, format('%s of %s', r.amount, l.amount_nanos)
FROM (SELECT lot_id, sum(amount_nanos)::bigint AS amount FROM billing_refund WHERE status <> 'refused' AND lot_id IS NOT NULL
      GROUP BY lot_id) r
JOIN billing_lot l ON l.id = r.lot_id WHERE r.amount > l.amount_nanos OR l.kind <> 'paid'
UNION ALL
SELECT '11 a refund under way holds its money', r.id::text, r.status FROM billing_refund r LEFT JOIN billing_hold h ON h.id = r.id
WHERE r.lot_id IS NOT NULL
  AND ((r.status IN ('held', 'processing')) IS DISTINCT FROM (h.id IS NOT NULL) OR h.amount_nanos <> r.amount_nanos OR h.lot_id <> r.lot_id)
UNION ALL
SELECT '11 a refund that is done was booked', r.id::text, r.status FROM billing_refund r
LEFT JOIN billing_ledgerentry e ON e.reference = 'refund:' || r.id
WHERE r.lot_id IS NOT NULL AND (r.status = 'done') <> (e.id IS NOT NULL)

UNION ALL
SELECT '13 append-only tables have their triggers', t.name, 'row trigger append_only, statement trigger no_truncate'
FROM (SELECT relid::text AS name FROM pg_partition_tree('billing_usagerecord') UNION ALL
      SELECT unnest(ARRAY['billing_ledgerentry', 'billing_posting', 'billing_settledbatch', 'billing_expiredhold',
                          'billing_ledgerseal', 'billing_dayclose', 'billing_monthclose'])) t
WHERE 2 <> (SELECT count(*) FROM pg_trigger g WHERE g.tgrelid = t.name::regclass AND g.tgenabled IN ('O', 'A')
            AND g.tgname IN ('append_only', 'no_truncate') AND g.tgfoid = 'billing_deny'::regproc)

UNION ALL
SELECT '14 no column of money floats', table_name || '.' || column_name, data_type
FROM information_schema.columns
WHERE table_schema = 'public' AND table_name LIKE 'billing\_%'
  AND (data_type IN ('real', 'double precision', 'money') OR (column_name LIKE '%\_nanos' AND data_type <> 'bigint'))

UNION ALL
SELECT '15 a fenced process holds nothing', h.id::text, s.host
FROM billing_hold h JOIN billing_gatewaysession s ON s.id = h.session_id WHERE s.state = 'reaped'

UNION ALL
SELECT '16 overdraft = receivable', w.id::text, format('%s, not %s', w.overdraft_nanos, -coalesce(m.balance, 0))
FROM billing_wallet w LEFT JOIN moved m ON m.book = 'overdraft:' || w.id WHERE w.overdraft_nanos <> -coalesce(m.balance, 0)
UNION ALL
SELECT '16 usage owes no more than what went beyond holds', u.wallet_id::text, format('%s of %s', u.owed, u.beyond)
FROM (SELECT wallet_id, sum(overdraft_nanos)::bigint AS owed, sum(greatest(0, net_nanos - coalesce(hold_nanos, 0)))::bigint AS beyond
      FROM billing_usagerecord GROUP BY wallet_id) u
WHERE u.owed > u.beyond

UNION ALL
SELECT '17 a budget''s window holds what calls hold', s.id::text, format('%s, not %s', s.held_nanos, coalesce(h.amount, 0))
FROM billing_budgetspend s
LEFT JOIN (SELECT x.spend, sum(b.amount_nanos)::bigint AS amount FROM billing_hold b CROSS JOIN LATERAL unnest(b.spends) AS x (spend)
           GROUP BY x.spend) h ON h.spend = s.id
WHERE s.held_nanos <> coalesce(h.amount, 0)

UNION ALL
SELECT '17 a budget''s window spent no more than its days came to', n.id::text, format('%s of %s', n.spent_nanos, n.known)
FROM (SELECT s.id, s.spent_nanos, billing_spent_of(s.budget_id, s.starts_on) AS known FROM billing_budgetspend s) n
WHERE n.spent_nanos > n.known

UNION ALL
SELECT '18 the days add up to the calls', coalesce(d.organization_id, u.organization_id)::text,
       format('%s: %s calls at %s, not %s at %s', coalesce(d.day, u.day), coalesce(d.calls, 0), coalesce(d.net, 0), coalesce(u.calls, 0), coalesce(u.net, 0))
FROM (SELECT organization_id, day, sum(calls) AS calls, sum(net_nanos) AS net, sum(gross_nanos) AS gross, sum(cost_nanos) AS cost
      FROM billing_usageday GROUP BY organization_id, day) d
FULL JOIN (SELECT organization_id, timezone('America/Sao_Paulo', created_at)::date AS day, count(*) AS calls, sum(net_nanos) AS net,
                  sum(gross_nanos) AS gross, sum(cost_nanos) AS cost
           FROM billing_usagerecord GROUP BY 1, 2) u ON u.organization_id = d.organization_id AND u.day = d.day
WHERE (coalesce(d.calls, 0), coalesce(d.net, 0), coalesce(d.gross, 0), coalesce(d.cost, 0))
   <> (coalesce(u.calls, 0), coalesce(u.net, 0), coalesce(u.gross, 0), coalesce(u.cost, 0))

UNION ALL
SELECT '19 a month opens as the one before it closed', c.wallet_id::text, format('%s: %s, not %s', c.month, c.opening_nanos, c.before)
FROM (SELECT m.*, lag(m.closing_nanos, 1, 0::bigint) OVER (PARTITION BY m.wallet_id ORDER BY m.month) AS before,
             lag(m.month) OVER (PARTITION BY m.wallet_id ORDER BY m.month) AS month_before FROM billing_monthclose m) c
WHERE c.opening_nanos <> c.before OR c.month_before + interval '1 month' <> c.month
UNION ALL
SELECT '19 the closes and what moved since add up to the wallet', w.id::text, format('%s, not %s', w.posted_nanos, n.known)
FROM billing_wallet w
CROSS JOIN LATERAL (
  SELECT max(m.month) AS month, sum(m.in_nanos - m.out_nanos) AS closed, sum(m.net_nanos - m.overdraft_nanos + m.adjustment_nanos) AS used
  FROM billing_monthclose m WHERE m.wallet_id = w.id) c
CROSS JOIN LATERAL (
  SELECT c.closed + c.used + coalesce(sum(CASE
           WHEN p.destination = 'revenue:usage' THEN -p.amount_nanos
           WHEN e.created_at < timezone('America/Sao_Paulo', c.month + interval '1 month') THEN 0
           WHEN p.destination = 'wallet:' || w.id THEN p.amount_nanos ELSE -p.amount_nanos END), 0) AS known
  FROM billing_posting p JOIN billing_ledgerentry e ON e.id = p.entry_id
  WHERE p.wallet_id = w.id AND 'wallet:' || w.id IN (p.source, p.destination)) n
WHERE c.month IS NOT NULL AND w.posted_nanos <> n.known
UNION ALL
SELECT '19 closes told no more usage than there is', c.wallet_id::text, format('%s of %s', c.used, d.used)
FROM (SELECT wallet_id, organization_id, max(month) AS month, sum(net_nanos - overdraft_nanos + adjustment_nanos) AS used
      FROM billing_monthclose GROUP BY wallet_id, organization_id) c
CROSS JOIN LATERAL (SELECT coalesce(sum(x.paid_nanos + x.promo_nanos), 0) AS used FROM billing_usageday x
                    WHERE x.organization_id = c.organization_id AND x.day < c.month + interval '1 month') d
WHERE c.used > d.used
