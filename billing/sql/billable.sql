-- What a close told of its own month, by route: the days as they are now, less the calls that came after it. One statement, so that
-- both sides are of one snapshot. Read by billing/billable.py.

WITH days AS (
  SELECT route_name, sum(calls)::bigint AS calls, sum(net_nanos - promo_nanos)::bigint AS nanos
  FROM billing_usageday
  WHERE organization_id = %(organization)s AND day >= %(month)s AND day < %(next)s
  GROUP BY route_name
), late AS (  -- a call that cost nothing has no place of its own: its batch says when it came
  SELECT u.route_name, count(*) AS calls, sum(u.net_nanos - u.promo_nanos)::bigint AS nanos
  FROM billing_usagerecord u
  WHERE u.wallet_id = %(wallet)s AND u.month = %(month)s AND u.gross_before_nanos >= %(gross)s
    AND u.id >= billing_first_id_of_month(%(month)s) AND u.id < billing_first_id_of_month(%(next)s)
    AND (u.gross_nanos > 0
         OR EXISTS (SELECT 1 FROM billing_settledbatch b WHERE b.id = u.batch_id AND b.created_at > %(closed_at)s))
  GROUP BY u.route_name
)
SELECT d.route_name, d.calls - coalesce(l.calls, 0), d.nanos - coalesce(l.nanos, 0) AS told
FROM days d LEFT JOIN late l ON l.route_name = d.route_name
ORDER BY told DESC, d.route_name
