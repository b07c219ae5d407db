-- Closed days and months (billing/models/closing.py). The wallet's lock keeps settlements away while one is counted: whatever has an
-- instant before it was committed before.

-- Tells the days from p_first to p_last, as far as they were not told yet; returns how many lines that made. A line for a day before
-- what was told already comes late: it is told on p_told, so that no balance that was told moves.
CREATE OR REPLACE FUNCTION billing_close_days(p_wallet bigint, p_first date, p_last date, p_told date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  owner bigint;
  told_until date;
  made int;
BEGIN
  SELECT organization_id INTO owner FROM billing_wallet WHERE id = p_wallet FOR NO KEY UPDATE;
  SELECT max(told_on) INTO told_until FROM billing_dayclose WHERE wallet_id = p_wallet;
  INSERT INTO billing_dayclose (organization_id, wallet_id, day, number, told_on, calls, amount_nanos, closed_at)
  SELECT owner, p_wallet, u.day, coalesce(t.told, 0), CASE WHEN u.day <= told_until THEN p_told ELSE u.day END,
         u.calls - coalesce(t.calls, 0), u.amount - coalesce(t.amount, 0), clock_timestamp()
  FROM (SELECT d.day, sum(d.calls) AS calls, sum(d.paid_nanos + d.promo_nanos) AS amount
        FROM billing_usageday d WHERE d.organization_id = owner AND d.day BETWEEN p_first AND p_last GROUP BY d.day) u
  LEFT JOIN (SELECT c.day, count(*) AS told, sum(c.calls) AS calls, sum(c.amount_nanos) AS amount
             FROM billing_dayclose c WHERE c.wallet_id = p_wallet AND c.day BETWEEN p_first AND p_last GROUP BY c.day) t
    ON t.day = u.day
  WHERE u.calls > coalesce(t.calls, 0) OR u.amount > coalesce(t.amount, 0)
  ORDER BY u.day;
  GET DIAGNOSTICS made = ROW_COUNT;
  RETURN made;
END $$;

-- Closes a month of a wallet that is over, after the month before it; again, it is the same row. Returns its id.
-- Raises 22023 where the month is not over or not the next one.
CREATE OR REPLACE FUNCTION billing_close_month(p_wallet bigint, p_month date) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  w record;
  before record;
  used record;
  moved jsonb;
  late jsonb;
  late_used bigint;
  came bigint;
  went bigint;
  head record;
  starts timestamptz := timezone('America/Sao_Paulo', p_month::timestamp);
  next_month date := (p_month + interval '1 month')::date;
  ends timestamptz := timezone('America/Sao_Paulo', next_month::timestamp);
  closed bigint;
BEGIN
  SELECT id, organization_id, created_at INTO w FROM billing_wallet WHERE id = p_wallet FOR NO KEY UPDATE;
  SELECT id INTO closed FROM billing_monthclose WHERE wallet_id = p_wallet AND month = p_month;
  IF FOUND THEN
    RETURN closed;
  END IF;
  SELECT month, closing_nanos INTO before FROM billing_monthclose WHERE wallet_id = p_wallet ORDER BY month DESC LIMIT 1;
  IF p_month <> date_trunc('month', p_month)::date OR clock_timestamp() < ends
     OR coalesce(before.month + interval '1 month', date_trunc('month', timezone('America/Sao_Paulo', w.created_at))) <> p_month THEN
    RAISE EXCEPTION 'month % of wallet % is not over, or not the next to close', p_month, p_wallet USING ERRCODE = '22023';
  END IF;

  SELECT coalesce(jsonb_object_agg(m.what, jsonb_build_object('in', m.came, 'out', m.went)), '{}'),
         coalesce(sum(m.came), 0), coalesce(sum(m.went), 0)
  INTO moved, came, went
  FROM (SELECT CASE WHEN p.destination LIKE 'overdraft:%' THEN 'overdraft' ELSE e.kind END AS what,
               coalesce(sum(p.amount_nanos) FILTER (WHERE p.destination = 'wallet:' || p_wallet), 0)::bigint AS came,
               coalesce(sum(p.amount_nanos) FILTER (WHERE p.source = 'wallet:' || p_wallet), 0)::bigint AS went
        FROM billing_posting p JOIN billing_ledgerentry e ON e.id = p.entry_id
        WHERE p.wallet_id = p_wallet AND p.destination <> 'revenue:usage' AND e.created_at >= starts AND e.created_at < ends
          AND 'wallet:' || p_wallet IN (p.source, p.destination)
        GROUP BY what) m;

  SELECT coalesce(sum(calls), 0) AS calls, coalesce(sum(gross_nanos), 0) AS gross, coalesce(sum(net_nanos), 0) AS net,
         coalesce(sum(promo_nanos), 0) AS promo, coalesce(sum(overdraft_nanos), 0) AS owed
  INTO used FROM billing_usageday WHERE organization_id = w.organization_id AND day >= p_month AND day < next_month;

  -- Calls that came to months closed before: what those months have now, less what closes have told of them.
  SELECT coalesce(jsonb_object_agg(n.month, jsonb_build_object(
           'calls', n.calls - n.told_calls, 'gross', n.gross - n.told_gross, 'net', n.net - n.told_net, 'used', n.used - n.told_used)), '{}'),
         coalesce(sum(n.used - n.told_used), 0)
  INTO late, late_used
  FROM (SELECT s.month, s.calls, s.gross_nanos AS gross, s.net_nanos AS net,
               coalesce(c.calls, 0) + coalesce(a.calls, 0) AS told_calls, coalesce(c.gross_nanos, 0) + coalesce(a.gross, 0) AS told_gross,
               coalesce(c.net_nanos, 0) + coalesce(a.net, 0) AS told_net,
               coalesce(c.net_nanos - c.overdraft_nanos, 0) + coalesce(a.used, 0) AS told_used,
               (SELECT coalesce(sum(d.paid_nanos + d.promo_nanos), 0) FROM billing_usageday d
                WHERE d.organization_id = w.organization_id AND d.day >= s.month AND d.day < s.month + interval '1 month') AS used
        FROM billing_monthspend s
        LEFT JOIN billing_monthclose c ON c.wallet_id = p_wallet AND c.month = s.month
        LEFT JOIN (SELECT j.key::date AS month, sum((j.value ->> 'calls')::bigint) AS calls, sum((j.value ->> 'gross')::bigint) AS gross,
                          sum((j.value ->> 'net')::bigint) AS net, sum((j.value ->> 'used')::bigint) AS used
                   FROM billing_monthclose x CROSS JOIN LATERAL jsonb_each(x.adjustments) j
                   WHERE x.wallet_id = p_wallet GROUP BY j.key) a ON a.month = s.month
        WHERE s.wallet_id = p_wallet AND s.month < p_month
          AND s.calls <> coalesce(c.calls, 0) + coalesce(a.calls, 0)) n;

  SELECT seq, digest INTO head FROM billing_ledgerseal ORDER BY seq DESC LIMIT 1;
  went := went + used.net - used.owed + late_used;
  INSERT INTO billing_monthclose (
    organization_id, wallet_id, month, opening_nanos, in_nanos, out_nanos, closing_nanos, top_ups_nanos, promo_nanos, refunds_nanos,
    calls, gross_nanos, discount_nanos, net_nanos, promo_used_nanos, overdraft_nanos, adjustment_nanos, movements, adjustments,
    seal_seq, seal_digest, closed_at)
  VALUES (
    w.organization_id, p_wallet, p_month, coalesce(before.closing_nanos, 0), came, went, coalesce(before.closing_nanos, 0) + came - went,
    coalesce((moved -> 'top_up' ->> 'in')::bigint, 0), coalesce((moved -> 'grant' ->> 'in')::bigint, 0),
    coalesce((moved -> 'refund' ->> 'out')::bigint, 0), used.calls, used.gross, used.gross - used.net, used.net, used.promo, used.owed,
    late_used, moved, late, coalesce(head.seq, 0), coalesce(head.digest, decode(repeat('00', 32), 'hex')), clock_timestamp())
  RETURNING id INTO closed;
  RETURN closed;
END $$;
