-- Places holds, first come first served per wallet. Idempotent by id: the same batch again changes nothing.
-- result: 1 placed · 2 already placed · 3 over already: settled, or expired with its session · 0 insufficient · 4 the id's instant
-- is more than 60 s off the database's clock · 5 unknown wallet. available_nanos is what the wallet has left after (0: what there
-- is).
-- Raises TK001 when the session is not live. The same id twice in one batch is a caller's bug (23505).
CREATE OR REPLACE FUNCTION billing_hold_batch(p_session bigint, p_ids uuid[], p_wallets bigint[], p_amounts bigint[])
RETURNS TABLE (ord int, result smallint, available_nanos bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
-- one plan per connection, by index: else each call plans its look-ups in the partitions again, and a plan made while a table was
-- empty reads all of it later
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
  c record;
  wallet bigint;
  available bigint;
  placed_ids uuid[] := '{}';
  placed_wallets bigint[] := '{}';
  placed_amounts bigint[] := '{}';
BEGIN
  PERFORM 1 FROM billing_gatewaysession WHERE id = p_session AND state = 'live' FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'session % is fenced', p_session USING ERRCODE = 'TK001';
  END IF;
  IF cardinality(p_ids) = 1 THEN
    ord := 1;
    SELECT h.result, h.available_nanos INTO result, available_nanos
    FROM billing_hold_one(p_session, p_ids[1], p_wallets[1], p_amounts[1]) h;
    RETURN NEXT;
    RETURN;
  END IF;
  PERFORM 1 FROM billing_wallet w WHERE w.id = ANY(p_wallets) ORDER BY w.id FOR NO KEY UPDATE;
  FOR c IN
    SELECT i.ord, i.id, i.wallet_id, i.amount, w.posted_nanos - w.held_nanos AS available,
           h.id IS NOT NULL AS is_placed, u.id IS NOT NULL OR e.id IS NOT NULL AS has_ended
    FROM unnest(p_ids, p_wallets, p_amounts) WITH ORDINALITY AS i (id, wallet_id, amount, ord)
    -- LIMIT: one index probe per id, whatever the planner believes about the tables' sizes
    LEFT JOIN LATERAL (SELECT x.* FROM billing_wallet x WHERE x.id = i.wallet_id LIMIT 1) w ON true
    LEFT JOIN LATERAL (SELECT x.id FROM billing_hold x WHERE x.id = i.id LIMIT 1) h ON true
    LEFT JOIN LATERAL (SELECT x.id FROM billing_usagerecord x WHERE x.id = i.id LIMIT 1) u ON true
    LEFT JOIN LATERAL (SELECT x.id FROM billing_expiredhold x WHERE x.id = i.id LIMIT 1) e ON true
    ORDER BY i.wallet_id, i.ord
  LOOP
    IF wallet IS DISTINCT FROM c.wallet_id THEN
      wallet := c.wallet_id;
      available := c.available;
    END IF;
    result := CASE
      WHEN c.has_ended THEN 3
      WHEN c.is_placed THEN 2
      WHEN available IS NULL THEN 5
      WHEN abs(billing_ms_of_id(c.id) - extract(epoch FROM clock_timestamp()) * 1000) > 60000 THEN 4
      WHEN c.amount > available THEN 0
      ELSE 1
    END;
    IF result = 1 THEN
      available := available - c.amount;
      placed_ids := placed_ids || c.id;
      placed_wallets := placed_wallets || wallet;
      placed_amounts := placed_amounts || c.amount;
    END IF;
    ord := c.ord;
    available_nanos := coalesce(available, 0);
    RETURN NEXT;
  END LOOP;
  IF cardinality(placed_ids) > 0 THEN
    INSERT INTO billing_hold (id, wallet_id, purpose, amount_nanos, session_id, created_at)
    SELECT p.id, p.wallet_id, 'call', p.amount, p_session, clock_timestamp()
    FROM unnest(placed_ids, placed_wallets, placed_amounts) AS p (id, wallet_id, amount);
    UPDATE billing_wallet w SET held_nanos = w.held_nanos + s.amount
    FROM (SELECT p.wallet_id, sum(p.amount)::bigint AS amount
          FROM unnest(placed_wallets, placed_amounts) AS p (wallet_id, amount) GROUP BY p.wallet_id) s
    WHERE w.id = s.wallet_id;
  END IF;
END $$;

-- The same for one hold, with single-row statements: less than half the work.
CREATE OR REPLACE FUNCTION billing_hold_one(p_session bigint, p_id uuid, p_wallet bigint, p_amount bigint,
                                            OUT result smallint, OUT available_nanos bigint)
LANGUAGE plpgsql AS $$
BEGIN
  SELECT w.posted_nanos - w.held_nanos INTO available_nanos FROM billing_wallet w WHERE w.id = p_wallet FOR NO KEY UPDATE;
  IF EXISTS (SELECT 1 FROM billing_usagerecord u WHERE u.id = p_id)
     OR EXISTS (SELECT 1 FROM billing_expiredhold e WHERE e.id = p_id) THEN
    result := 3;
  ELSIF EXISTS (SELECT 1 FROM billing_hold h WHERE h.id = p_id) THEN
    result := 2;
  ELSIF available_nanos IS NULL THEN
    result := 5;
  ELSIF abs(billing_ms_of_id(p_id) - extract(epoch FROM clock_timestamp()) * 1000) > 60000 THEN
    result := 4;
  ELSIF p_amount > available_nanos THEN
    result := 0;
  ELSE
    INSERT INTO billing_hold (id, wallet_id, purpose, amount_nanos, session_id, created_at)
    VALUES (p_id, p_wallet, 'call', p_amount, p_session, clock_timestamp());
    UPDATE billing_wallet w SET held_nanos = w.held_nanos + p_amount WHERE w.id = p_wallet;
    available_nanos := available_nanos - p_amount;
    result := 1;
  END IF;
  available_nanos := coalesce(available_nanos, 0);
END $$;
