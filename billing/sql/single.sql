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
  SELECT s.id, s.gross_nanos, t.above, t.bps INTO month_id, gross_before_nanos, above, bps
  FROM billing_monthspend s LEFT JOIN LATERAL (
    SELECT array_agg(t.above_nanos ORDER BY t.above_nanos) AS above, array_agg(t.discount_bps ORDER BY t.above_nanos) AS bps
    FROM billing_volumetier t WHERE t.plan_id = s.volume_plan_id
  ) t ON true
  WHERE s.wallet_id = wallet AND s.month = billing_month_of_id(call_id);
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
    IF paid > 0 THEN
      INSERT INTO billing_posting (entry_id, wallet_id, source, destination, amount_nanos)
      VALUES (entry, wallet, 'wallet:' || wallet, 'revenue:usage', paid);
    END IF;
    IF billing_settle_call.overdraft_nanos > 0 THEN
      INSERT INTO billing_posting (entry_id, wallet_id, source, destination, amount_nanos)
      VALUES (entry, wallet, 'overdraft:' || wallet, 'revenue:usage', billing_settle_call.overdraft_nanos);
    END IF;
  END IF;
  -- What billing_write_usage does for a batch: one row needs no sums, and most have no tag.
  WITH u AS (
  INSERT INTO billing_usagerecord (
    id, organization_id, wallet_id, api_key_id, project_id, tags, margin_bps, month, surface, is_stream, route_name, provider_name,
    upstream_model, upstream_id, price_version_id, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, requests,
    audio_input_tokens, audio_output_tokens, image_input_tokens, image_output_tokens, images, audio_seconds, characters, searches,
    hold_nanos, gross_nanos, net_nanos, paid_nanos, promo_nanos, overdraft_nanos, cost_nanos, gross_before_nanos, is_late, outcome,
    status_code, error_code, finish_reason, usage_source, attempts, routing, experiment_arm_id, is_own_key, first_token_ms,
    latency_ms, overhead_us, batch_id, entry_id, created_at)
  SELECT
    i.id, organization, i.wallet_id, i.api_key_id, i.project_id, i.tags, coalesce(i.margin_bps, 0), billing_month_of_id(i.id),
    i.surface, coalesce(i.is_stream, false),
    left(i.route_name, 100), left(coalesce(i.provider_name, ''), 40), left(coalesce(i.upstream_model, ''), 120),
    left(coalesce(i.upstream_id, ''), 120), i.price_version_id, coalesce(i.input_tokens, 0), coalesce(i.cached_input_tokens, 0),
    coalesce(i.cache_write_tokens, 0), coalesce(i.output_tokens, 0), coalesce(i.reasoning_tokens, 0), coalesce(i.requests, 1),
    coalesce(i.audio_input_tokens, 0), coalesce(i.audio_output_tokens, 0), coalesce(i.image_input_tokens, 0),
    coalesce(i.image_output_tokens, 0), coalesce(i.images, 0), coalesce(i.audio_seconds, 0), coalesce(i.characters, 0),
    coalesce(i.searches, 0),
    hold, i.gross_nanos, billing_settle_call.net_nanos, billing_settle_call.paid_nanos, billing_settle_call.promo_nanos,
    billing_settle_call.overdraft_nanos, coalesce(i.cost_nanos, 0), billing_settle_call.gross_before_nanos, false, i.outcome,
    coalesce(i.status_code, 200), left(coalesce(i.error_code, ''), 40),
    left(coalesce(i.finish_reason, ''), 40), i.usage_source, coalesce(i.attempts, '[]'), i.routing,
    i.experiment_arm_id, coalesce(i.is_own_key, false), i.first_token_ms, coalesce(i.latency_ms, 0),
    coalesce(i.overhead_us, 0), p_batch, entry, billing_instant_of_id(i.id)
  FROM jsonb_to_record(p_call) AS i (
         id uuid, wallet_id bigint, api_key_id bigint, surface text, is_stream boolean, route_name text, provider_name text,
         upstream_model text, upstream_id text, price_version_id bigint, input_tokens int, cached_input_tokens int,
         cache_write_tokens int, output_tokens int, reasoning_tokens int, requests int, audio_input_tokens int,
         audio_output_tokens int, image_input_tokens int, image_output_tokens int, images int, audio_seconds int, characters int,
         searches int, gross_nanos bigint, cost_nanos bigint, outcome text, status_code smallint, error_code text,
         finish_reason text, usage_source text, attempts jsonb, routing jsonb, experiment_arm_id bigint, is_own_key boolean,
         first_token_ms int, latency_ms int, overhead_us int, project_id bigint, tags text[], margin_bps smallint)
  RETURNING *
  )
  INSERT INTO billing_usageday AS d (
    organization_id, day, api_key_id, project_id, route_name, provider_name, is_own_key, calls, failed, gross_nanos, net_nanos,
    paid_nanos, promo_nanos, overdraft_nanos, cost_nanos, latency_ms, input_tokens, cached_input_tokens, cache_write_tokens,
    output_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, image_input_tokens, image_output_tokens, images,
    audio_seconds, characters, searches)
  SELECT u.organization_id, timezone('America/Sao_Paulo', u.created_at)::date, u.api_key_id, coalesce(u.project_id, 0),
         u.route_name, u.provider_name, u.is_own_key, 1, (u.outcome = 'failed')::int, u.gross_nanos, u.net_nanos, u.paid_nanos, u.promo_nanos,
         u.overdraft_nanos, u.cost_nanos, u.latency_ms, u.input_tokens, u.cached_input_tokens,
         u.cache_write_tokens, u.output_tokens, u.reasoning_tokens, u.audio_input_tokens,
         u.audio_output_tokens, u.image_input_tokens, u.image_output_tokens, u.images,
         u.audio_seconds, u.characters, u.searches
  FROM u
  ON CONFLICT (organization_id, day, api_key_id, project_id, route_name, provider_name, is_own_key) DO UPDATE SET
    calls = d.calls + excluded.calls, failed = d.failed + excluded.failed, gross_nanos = d.gross_nanos + excluded.gross_nanos,
    net_nanos = d.net_nanos + excluded.net_nanos, paid_nanos = d.paid_nanos + excluded.paid_nanos,
    promo_nanos = d.promo_nanos + excluded.promo_nanos, overdraft_nanos = d.overdraft_nanos + excluded.overdraft_nanos,
    cost_nanos = d.cost_nanos + excluded.cost_nanos, latency_ms = d.latency_ms + excluded.latency_ms,
    input_tokens = d.input_tokens + excluded.input_tokens, cached_input_tokens = d.cached_input_tokens + excluded.cached_input_tokens,
    cache_write_tokens = d.cache_write_tokens + excluded.cache_write_tokens, output_tokens = d.output_tokens + excluded.output_tokens,
    reasoning_tokens = d.reasoning_tokens + excluded.reasoning_tokens,
    audio_input_tokens = d.audio_input_tokens + excluded.audio_input_tokens,
    audio_output_tokens = d.audio_output_tokens + excluded.audio_output_tokens,
    image_input_tokens = d.image_input_tokens + excluded.image_input_tokens,
    image_output_tokens = d.image_output_tokens + excluded.image_output_tokens, images = d.images + excluded.images,
    audio_seconds = d.audio_seconds + excluded.audio_seconds, characters = d.characters + excluded.characters,
    searches = d.searches + excluded.searches;
  IF p_call ->> 'tags' <> '[]' THEN
    PERFORM billing_write_tags(ARRAY[call_id]);
  END IF;
END $$;
