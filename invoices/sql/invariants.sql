-- What must hold between documents and the facts that they tell, as one query in one snapshot: no row is the only right answer.
-- (number and rule, whose, what is wrong.) Read by invoices/reconcile.py with parameters; the XML of notes is looked at there.
WITH lines AS (  -- of an invoice, added up
  SELECT invoice_id, sum(amount_nanos)::bigint AS nanos, count(*) AS lines, count(*) FILTER (WHERE is_live) AS live,
         count(entry_id) AS entries
  FROM invoices_invoiceline GROUP BY invoice_id
), stood AS (  -- whether an invoice's lines are to be live: a replacement's only once it is issued
  SELECT i.*, o.status AS old_status,
         i.status IN ('draft', 'numbered', 'signed', 'sending', 'issued', 'rejected', 'uncertain', 'cancel_pending')
           AND (i.replaces_id IS NULL OR i.status IN ('issued', 'cancel_pending')) AS is_live
  FROM invoices_invoice i LEFT JOIN invoices_invoice o ON o.id = i.replaces_id
), monthly AS (  -- months' notes, each with what came before it; a note and what replaced it are one
  SELECT s.id, s.organization_id, s.amount_centavos, l.nanos,
         sum(l.nanos) OVER w AS nanos_until, sum(s.amount_centavos) OVER w AS centavos_until
  FROM stood s JOIN lines l ON l.invoice_id = s.id
  WHERE s.policy = 'monthly_consumption' AND s.is_live AND s.reference IS NOT NULL AND l.live > 0
  WINDOW w AS (PARTITION BY s.organization_id ORDER BY s.month, s.id)
), ended AS (  -- months' notes that ended without another in their place: what was rounded with them stays as it was
  SELECT organization_id, count(*) AS notes FROM invoices_invoice
  WHERE policy = 'monthly_consumption' AND status IN ('cancelled', 'discarded') GROUP BY organization_id
)
SELECT '12 a fact is on one live line' AS rule, coalesce('close ' || close_id, 'entry ' || entry_id) AS whose,
       count(*) || ' live lines ' || min(route_name) AS what
FROM invoices_invoiceline WHERE is_live GROUP BY close_id, entry_id, route_name HAVING count(*) > 1

UNION ALL
SELECT '12 a close is on one live invoice', 'close ' || close_id, string_agg(DISTINCT invoice_id::text, ', ')
FROM invoices_invoiceline WHERE is_live AND close_id IS NOT NULL GROUP BY close_id HAVING count(DISTINCT invoice_id) > 1

UNION ALL
SELECT '12 a line is live while its invoice is', 'invoice ' || s.id, s.status || ', ' || coalesce(l.live, 0) || ' of ' || coalesce(l.lines, 0)
FROM stood s LEFT JOIN lines l ON l.invoice_id = s.id
WHERE coalesce(l.live, 0) <> CASE WHEN s.is_live THEN coalesce(l.lines, 0) ELSE 0 END

UNION ALL
SELECT '12 an invoice tells facts, of its policy', 'invoice ' || s.id, s.policy || ', ' || coalesce(l.lines, 0) || ' lines'
FROM stood s LEFT JOIN lines l ON l.invoice_id = s.id
WHERE coalesce(l.lines, 0) = 0 OR (s.policy = 'per_topup') <> (l.entries > 0) OR (l.entries > 0 AND l.lines > 1)

UNION ALL
SELECT '12 an invoice, its lines and their facts are of one organization', 'line ' || l.id, 'invoice ' || i.id
FROM invoices_invoiceline l JOIN invoices_invoice i ON i.id = l.invoice_id
LEFT JOIN billing_monthclose c ON c.id = l.close_id
LEFT JOIN billing_lot t ON t.entry_id = l.entry_id LEFT JOIN billing_wallet w ON w.id = t.wallet_id
WHERE l.organization_id <> i.organization_id OR coalesce(c.organization_id, w.organization_id, 0) <> i.organization_id

UNION ALL
SELECT '20 models on an invoice = net − promotional of the close', 'close ' || c.id,
       format('%%s, not %%s', sum(l.amount_nanos), c.net_nanos - c.promo_used_nanos)
FROM invoices_invoiceline l JOIN billing_monthclose c ON c.id = l.close_id
WHERE l.is_live AND l.route_name NOT IN ('', %(covered)s)
GROUP BY c.id HAVING sum(l.amount_nanos) <> c.net_nanos - c.promo_used_nanos

UNION ALL
SELECT '20 late usage on an invoice is what its close told', 'close ' || c.id, format('%%s of %%s', l.amount_nanos, c.adjustments)
FROM invoices_invoiceline l JOIN billing_monthclose c ON c.id = l.close_id
WHERE l.is_live AND l.route_name = ''
  AND (l.amount_nanos <= 0
       OR l.amount_nanos > (SELECT coalesce(sum((j.value ->> 'net')::bigint), 0) FROM jsonb_each(c.adjustments) j)
       OR l.calls > (SELECT coalesce(sum((j.value ->> 'calls')::bigint), 0) FROM jsonb_each(c.adjustments) j))

UNION ALL
SELECT '20 a line tells a top-up, never more than was received', 'line ' || l.id, format('%%s of %%s', l.amount_nanos, t.amount_nanos)
FROM invoices_invoiceline l JOIN billing_ledgerentry e ON e.id = l.entry_id LEFT JOIN billing_lot t ON t.entry_id = e.id
WHERE l.is_live AND (e.kind <> 'top_up' OR l.amount_nanos <= 0 OR l.amount_nanos > coalesce(t.amount_nanos, 0))

UNION ALL
SELECT '21 centavos = half-up of nanos, of a top-up', 'invoice ' || s.id, format('%%s centavos of %%s nanos', s.amount_centavos, l.nanos)
FROM stood s JOIN lines l ON l.invoice_id = s.id
WHERE s.policy = 'per_topup' AND s.amount_centavos <> div(2 * l.nanos + 10000000, 20000000)

UNION ALL
SELECT '21 centavos = half-up of all nanos − centavos before, of months', 'invoice ' || m.id,
       format('%%s centavos until here of %%s nanos', m.centavos_until, m.nanos_until)
FROM monthly m LEFT JOIN ended x ON x.organization_id = m.organization_id
WHERE CASE WHEN x.notes IS NULL THEN m.centavos_until <> floor((2 * m.nanos_until + 10000000) / 20000000)
      ELSE abs(m.centavos_until * 10000000 - m.nanos_until) > 5000000 + 10000000 * x.notes END

UNION ALL
SELECT '22 a number belongs to one invoice', format('%%s %%s/%%s (%%s)', e.tax_id, i.series, i.number, i.environment), string_agg(i.id::text, ', ')
FROM invoices_invoice i JOIN invoices_issuer e ON e.id = i.issuer_id
WHERE i.number IS NOT NULL GROUP BY i.city_code, e.tax_id, i.series, i.number, i.environment HAVING count(*) > 1

UNION ALL
SELECT '22 a number was taken from its series', 'invoice ' || i.id, format('%%s, the next is %%s', i.number, coalesce(s.next_number, 1))
FROM invoices_invoice i JOIN invoices_issuer e ON e.id = i.issuer_id
LEFT JOIN invoices_dpsseries s ON s.city_code = i.city_code AND s.tax_id = e.tax_id AND s.series = i.series AND s.environment = i.environment
WHERE i.number IS NOT NULL AND i.number >= coalesce(s.next_number, 1)

UNION ALL
SELECT '23 what was issued has its document', 'invoice ' || id, channel || ' ' || status
FROM invoices_invoice
WHERE status IN ('issued', 'cancel_pending', 'cancelled', 'replaced')
  AND CASE channel
      WHEN 'sefin' THEN access_key = '' OR nfse_xml IS NULL OR dps_xml IS NULL OR number IS NULL
      WHEN 'focus' THEN nfse_number = ''
      ELSE nfse_xml IS NULL AND uploaded_pdf IS NULL END

UNION ALL
SELECT '23 what was not issued has none', 'invoice ' || id, status || ' ' || access_key
FROM invoices_invoice
WHERE status NOT IN ('issued', 'cancel_pending', 'cancelled', 'replaced') AND (access_key <> '' OR nfse_xml IS NOT NULL)

UNION ALL
SELECT '24 a replaced note has the one that replaced it', 'invoice ' || i.id, coalesce(n.status, 'none')
FROM invoices_invoice i LEFT JOIN invoices_invoice n ON n.replaces_id = i.id
WHERE i.status = 'replaced' AND coalesce(n.status, '') NOT IN ('issued', 'cancel_pending', 'cancelled', 'replaced')
ORDER BY 1, 2
