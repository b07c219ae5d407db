-- Gateway processes. A session that stays silent is reaped: its holds expire, and it can hold nothing any more (fencing).
-- Lock order of every money path: session, then wallets in id order (FOR NO KEY UPDATE), then the rest.

CREATE OR REPLACE FUNCTION billing_open_session(p_host text, p_seconds int) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  INSERT INTO billing_gatewaysession (host, state, started_at, expires_at)
  VALUES (left(p_host, 100), 'live', clock_timestamp(), clock_timestamp() + make_interval(secs => p_seconds))
  RETURNING id
$$;

-- Raises TK001 when the session was reaped, or never was.
CREATE OR REPLACE FUNCTION billing_renew_session(p_session bigint, p_seconds int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  UPDATE billing_gatewaysession SET expires_at = clock_timestamp() + make_interval(secs => p_seconds)
  WHERE id = p_session AND state <> 'reaped';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'session % is fenced', p_session USING ERRCODE = 'TK001';
  END IF;
END $$;

-- The process has drained: what it still holds expires. Returns how many holds that were. Safe to repeat.
CREATE OR REPLACE FUNCTION billing_close_session(p_session bigint) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM 1 FROM billing_gatewaysession WHERE id = p_session AND state <> 'reaped' FOR UPDATE;
  RETURN CASE WHEN FOUND THEN billing_reap(ARRAY[p_session]) ELSE 0 END;
END $$;

-- Reaps every session that has been silent for p_grace_seconds longer than it promised. Returns how many holds expired.
-- A session whose row is locked is placing a hold right now, so it lives.
CREATE OR REPLACE FUNCTION billing_reap_sessions(p_grace_seconds int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  silent bigint[];
BEGIN
  SELECT array_agg(s.id) INTO silent FROM (
    SELECT id FROM billing_gatewaysession
    WHERE state <> 'reaped' AND expires_at + make_interval(secs => p_grace_seconds) < clock_timestamp()
    ORDER BY id FOR UPDATE SKIP LOCKED
  ) s;
  RETURN CASE WHEN silent IS NULL THEN 0 ELSE billing_reap(silent) END;
END $$;

-- Fences sessions whose rows the caller has locked, and expires their holds.
CREATE OR REPLACE FUNCTION billing_reap(p_sessions bigint[]) RETURNS int
LANGUAGE plpgsql AS $$
BEGIN
  UPDATE billing_gatewaysession SET state = 'reaped' WHERE id = ANY(p_sessions);
  RETURN billing_expire(ARRAY(SELECT id FROM billing_hold WHERE session_id = ANY(p_sessions) AND purpose = 'call'));
END $$;

-- Expires holds of calls older than any call may run. Holds of refunds never expire: the bank has the last word.
CREATE OR REPLACE FUNCTION billing_expire_holds(p_older_seconds int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  RETURN billing_expire(ARRAY(
    SELECT id FROM billing_hold
    WHERE purpose = 'call' AND created_at < clock_timestamp() - make_interval(secs => p_older_seconds)));
END $$;

-- Moves holds to the expired ones and frees their money. Those settled meanwhile are no longer there, and stay settled.
CREATE OR REPLACE FUNCTION billing_expire(p_holds uuid[]) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
  expired int;
BEGIN
  PERFORM 1 FROM billing_wallet
  WHERE id IN (SELECT wallet_id FROM billing_hold WHERE id = ANY(p_holds))
  ORDER BY id FOR NO KEY UPDATE;
  WITH gone AS (
    DELETE FROM billing_hold WHERE id = ANY(p_holds) RETURNING id, wallet_id, amount_nanos, session_id, spends
  ), kept AS (
    INSERT INTO billing_expiredhold (id, wallet_id, amount_nanos, session_id, spends, created_at)
    SELECT id, wallet_id, amount_nanos, session_id, spends, clock_timestamp() FROM gone
  ), freed AS (
    UPDATE billing_wallet w SET held_nanos = w.held_nanos - f.amount
    FROM (SELECT wallet_id, sum(amount_nanos)::bigint AS amount FROM gone GROUP BY wallet_id) f
    WHERE w.id = f.wallet_id
  ), left_windows AS (
    UPDATE billing_budgetspend s SET held_nanos = s.held_nanos - f.amount
    FROM (SELECT x.spend, sum(g.amount_nanos)::bigint AS amount FROM gone g CROSS JOIN LATERAL unnest(g.spends) AS x (spend)
          GROUP BY x.spend) f
    WHERE s.id = f.spend
  )
  SELECT count(*) INTO expired FROM gone;
  RETURN expired;
END $$;
