-- One call alone, as most are while there is little to do: single-row statements, a third less work than a batch of one. Each gives
-- exactly what its batch would give (tests/billing/test_single_calls.py), and leaves to it whatever is not the usual: a replay, a
-- refusal, an expired hold, a month's first call.

-- Like billing_hold_batch for one hold. Raises TK001 when the session is not live.
CREATE OR REPLACE FUNCTION billing_hold_call(p_session bigint, p_id uuid, p_wallet bigint, p_amount bigint,
                                             OUT result smallint, OUT available_nanos bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
  PERFORM 1 FROM billing_gatewaysession WHERE id = p_session AND state = 'live' FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'session % is fenced', p_session USING ERRCODE = 'TK001';
  END IF;
  IF p_amount > 0 AND abs(billing_ms_of_id(p_id) - extract(epoch FROM clock_timestamp()) * 1000) <= 60000 THEN
    UPDATE billing_wallet w SET held_nanos = w.held_nanos + p_amount
    WHERE w.id = p_wallet AND w.posted_nanos - w.held_nanos >= p_amount
    RETURNING w.posted_nanos - w.held_nanos INTO available_nanos;
    IF FOUND THEN
      INSERT INTO billing_hold (id, wallet_id, purpose, amount_nanos, session_id, created_at)
      SELECT p_id, p_wallet, 'call', p_amount, p_session, clock_timestamp()
      WHERE NOT EXISTS (SELECT 1 FROM billing_usagerecord u WHERE u.id = p_id)
        AND NOT EXISTS (SELECT 1 FROM billing_expiredhold e WHERE e.id = p_id)
      ON CONFLICT DO NOTHING;
      IF FOUND THEN
        result := 1;
        RETURN;
      END IF;
      UPDATE billing_wallet w SET held_nanos = w.held_nanos - p_amount WHERE w.id = p_wallet;  -- it was placed before, or is over
    END IF;
  END IF;
  SELECT h.result, h.available_nanos INTO result, available_nanos FROM billing_hold_one(p_session, p_id, p_wallet, p_amount) h;
END $$;

-- Like billing_settle_batch for one call: p_call is the object itself.
CREATE OR REPLACE FUNCTION billing_settle_call(p_batch uuid, p_session bigint, p_call jsonb,
  OUT id uuid, OUT net_nanos bigint, OUT paid_nanos bigint, OUT promo_nanos bigint, OUT overdraft_nanos bigint,
  OUT gross_before_nanos bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  call_id uuid := p_call ->> 'id';
  wallet bigint := p_call ->> 'wallet_id';
  gross bigint := p_call ->> 'gross_nanos';
  organization bigint;
  free bigint;   -- posted − held, and what this call holds
  promo bigint;
  hold bigint;
  windows bigint[];  -- of budgets
  month_id bigint;
  above bigint[];
  bps int[];
  paid bigint;
  entry bigint;
BEGIN
  SELECT w.organization_id, w.posted_nanos - w.held_nanos, w.promo_nanos INTO organization, free, promo
  FROM billing_wallet w WHERE w.id = wallet FOR NO KEY UPDATE;
  SELECT s.id, s.gross_nanos,
         (SELECT array_agg(t.above_nanos ORDER BY t.above_nanos) FROM billing_volumetier t WHERE t.plan_id = s.volume_plan_id),
         (SELECT array_agg(t.discount_bps ORDER BY t.above_nanos) FROM billing_volumetier t WHERE t.plan_id = s.volume_plan_id)
  INTO month_id, gross_before_nanos, above, bps
  FROM billing_monthspend s WHERE s.wallet_id = wallet AND s.month = billing_month_of_id(call_id);
  -- A hold that is there says that the call is neither settled nor expired: the three are never there together.
  IF month_id IS NOT NULL THEN
    DELETE FROM billing_hold h WHERE h.id = call_id AND h.purpose = 'call' AND h.wallet_id = wallet
    RETURNING h.amount_nanos, h.spends INTO hold, windows;
  END IF;
  IF hold IS NULL THEN
    SELECT b.id, b.net_nanos, b.paid_nanos, b.promo_nanos, b.overdraft_nanos, b.gross_before_nanos
    INTO id, net_nanos, paid_nanos, promo_nanos, overdraft_nanos, gross_before_nanos
    FROM billing_settle_batch(p_batch, p_session, jsonb_build_array(p_call)) b;
    RETURN;
  END IF;
  INSERT INTO billing_settledbatch (id, created_at) VALUES (p_batch, clock_timestamp()) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'batch % was settled with other calls', p_batch USING ERRCODE = 'TK002', DETAIL = call_id::text;
  END IF;

  id := call_id;
  net_nanos := billing_net_of(gross_before_nanos + gross, above, bps) - billing_net_of(gross_before_nanos, above, bps);
  free := free + hold;
  paid := least(net_nanos, free);
  promo_nanos := least(paid, promo);
  paid_nanos := paid - promo_nanos;
  overdraft_nanos := net_nanos - paid;

  UPDATE billing_wallet w
  SET posted_nanos = w.posted_nanos - paid, held_nanos = w.held_nanos - hold,
      promo_nanos = w.promo_nanos - billing_settle_call.promo_nanos,
      paid_used_nanos = w.paid_used_nanos + billing_settle_call.paid_nanos,
      promo_used_nanos = w.promo_used_nanos + billing_settle_call.promo_nanos,
      overdraft_nanos = w.overdraft_nanos + billing_settle_call.overdraft_nanos
  WHERE w.id = wallet;
  IF windows IS NOT NULL THEN
    PERFORM billing_spend(windows, hold, billing_settle_call.net_nanos);
  END IF;
  UPDATE billing_monthspend s
  SET gross_nanos = s.gross_nanos + gross, net_nanos = s.net_nanos + billing_settle_call.net_nanos, calls = s.calls + 1
  WHERE s.id = month_id;
  IF billing_settle_call.net_nanos > 0 THEN
    INSERT INTO billing_ledgerentry (kind, reference, reason, actor, created_at)
    VALUES ('usage', 'usage:' || p_batch || ':' || wallet, '', 'gateway', clock_timestamp())
    RETURNING billing_ledgerentry.id INTO entry;
    INSERT INTO billing_posting (entry_id, wallet_id, source, destination, amount_nanos)
    SELECT entry, wallet, p.source, 'revenue:usage', p.amount
    FROM (VALUES ('wallet:' || wallet, paid), ('overdraft:' || wallet, billing_settle_call.overdraft_nanos)) AS p (source, amount)
    WHERE p.amount > 0;
  END IF;
  PERFORM billing_write_usage(
    p_batch, jsonb_build_array(p_call), '{}', ARRAY[organization], ARRAY[hold], ARRAY[entry],
    ARRAY[billing_settle_call.gross_before_nanos], ARRAY[billing_settle_call.net_nanos], ARRAY[billing_settle_call.paid_nanos],
    ARRAY[billing_settle_call.promo_nanos], ARRAY[billing_settle_call.overdraft_nanos]);
END $$;
