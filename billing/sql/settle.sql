-- Settles a batch of calls that ended, in one transaction: prices each at its exact place in the wallet's month, consumes its
-- hold, writes its UsageRecord, and one entry per wallet with what all of them came to.
--
-- p_calls: a JSON array of objects whose keys are UsageRecord's columns. Calls of a wallet are settled in the order given, as if
-- one by one: the hold comes back, the net amount is paid from promotional money, then from paid money, and what the wallet has
-- not (an upstream that overshot its limit, a hold that had expired) becomes overdraft.
-- Returns the figures of every call; for a call settled before, the stored ones. So the same bytes may be sent until an
-- answer comes. p_session is who settles, for the logs; a fenced process may still bring what its calls came to.
-- Raises TK002 (the call was settled with another gross, outcome or wallet; the batch with other calls) and TK003 (no such
-- wallet), both with the call's id as DETAIL.
CREATE OR REPLACE FUNCTION billing_settle_batch(p_batch uuid, p_session bigint, p_calls jsonb)
RETURNS TABLE (id uuid, net_nanos bigint, paid_nanos bigint, promo_nanos bigint, overdraft_nanos bigint, gross_before_nanos bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
-- one plan per connection, by index: else each call plans its look-ups in the partitions again, and a plan made while a table was
-- empty reads all of it later
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  c record;
  is_replay boolean;
  -- the wallet and the month at work
  k int := 0;
  wallet bigint;
  free bigint;      -- posted − held
  promo bigint;
  m int := 0;
  month date;
  month_id bigint;
  gross bigint;
  net bigint;       -- F(gross)
  above bigint[];
  bps int[];
  paid bigint;
  -- per wallet and per month of a wallet, in the order of work
  w_id bigint[] := '{}'; w_entry bigint[] := '{}'; w_freed bigint[] := '{}';
  w_paid bigint[] := '{}'; w_promo bigint[] := '{}'; w_short bigint[] := '{}';
  m_id bigint[] := '{}'; m_gross bigint[] := '{}'; m_net bigint[] := '{}'; m_calls bigint[] := '{}';
  -- per call, at its place in p_calls; empty where it was settled before
  blank bigint[] := array_fill(NULL::bigint, ARRAY[jsonb_array_length(p_calls)]);
  c_organization bigint[] := blank; c_hold bigint[] := blank; c_entry bigint[] := blank; c_before bigint[] := blank;
  c_net bigint[] := blank; c_paid bigint[] := blank; c_promo bigint[] := blank; c_short bigint[] := blank;
  spends bigint[];  -- the windows of budgets that the call's hold is, or was, taken from
  late_ids uuid[] := '{}';
  held_ids uuid[] := '{}';
  tagged_ids uuid[] := '{}';
BEGIN
  PERFORM 1 FROM billing_wallet w
  WHERE w.id = ANY(ARRAY(SELECT (e ->> 'wallet_id')::bigint FROM jsonb_array_elements(p_calls) e))
  ORDER BY w.id FOR NO KEY UPDATE;
  INSERT INTO billing_settledbatch (id, created_at) VALUES (p_batch, clock_timestamp()) ON CONFLICT DO NOTHING;
  is_replay := NOT FOUND;

  FOR c IN
    SELECT i.ord, i.id, i.wallet_id, i.gross_nanos, i.outcome, cardinality(i.tags) > 0 AS is_tagged, billing_month_of_id(i.id) AS month,
           w.organization_id, w.posted_nanos - w.held_nanos AS free, w.promo_nanos AS promo,
           h.amount_nanos AS hold, h.wallet_id AS hold_wallet_id, h.spends,
           u.wallet_id AS u_wallet_id, u.gross_nanos AS u_gross, u.outcome AS u_outcome, u.net_nanos AS u_net, u.paid_nanos AS u_paid,
           u.promo_nanos AS u_promo, u.overdraft_nanos AS u_short, u.gross_before_nanos AS u_before
    FROM ROWS FROM (jsonb_to_recordset(p_calls) AS (id uuid, wallet_id bigint, gross_nanos bigint, outcome text, tags text[]))
         WITH ORDINALITY AS i (id, wallet_id, gross_nanos, outcome, tags, ord)
    -- LIMIT: one index probe per call, whatever the planner believes about the tables' sizes
    LEFT JOIN LATERAL (SELECT x.* FROM billing_wallet x WHERE x.id = i.wallet_id LIMIT 1) w ON true
    LEFT JOIN LATERAL (SELECT x.* FROM billing_hold x WHERE x.id = i.id AND x.purpose = 'call' LIMIT 1) h ON true
    LEFT JOIN LATERAL (SELECT x.* FROM billing_usagerecord x WHERE x.id = i.id LIMIT 1) u ON true
    ORDER BY i.wallet_id, month, i.ord
  LOOP
    IF c.free IS NULL THEN
      RAISE EXCEPTION 'no wallet %', c.wallet_id USING ERRCODE = 'TK003', DETAIL = c.id::text;
    END IF;
    IF c.u_gross IS NOT NULL THEN
      IF (c.u_gross, c.u_outcome, c.u_wallet_id) IS DISTINCT FROM (c.gross_nanos, c.outcome, c.wallet_id) THEN
        RAISE EXCEPTION 'call was settled with another outcome' USING ERRCODE = 'TK002', DETAIL = c.id::text;
      END IF;
      id := c.id; net_nanos := c.u_net; paid_nanos := c.u_paid; promo_nanos := c.u_promo; overdraft_nanos := c.u_short;
      gross_before_nanos := c.u_before;
      RETURN NEXT;
      CONTINUE;
    END IF;
    IF is_replay OR c.hold_wallet_id <> c.wallet_id THEN
      RAISE EXCEPTION 'batch % was settled with other calls, or the hold is of another wallet', p_batch
        USING ERRCODE = 'TK002', DETAIL = c.id::text;
    END IF;

    IF wallet IS DISTINCT FROM c.wallet_id THEN
      k := k + 1; wallet := c.wallet_id; free := c.free; promo := c.promo; month := NULL;
      w_id[k] := wallet; w_freed[k] := 0; w_paid[k] := 0; w_promo[k] := 0; w_short[k] := 0; w_entry[k] := NULL;
    END IF;
    IF month IS DISTINCT FROM c.month THEN
      m := m + 1; month := c.month;
      SELECT o.id, o.gross_nanos, o.above, o.bps INTO month_id, gross, above, bps FROM billing_open_month(wallet, month) o;
      net := billing_net_of(gross, above, bps);
      m_id[m] := month_id; m_gross[m] := 0; m_net[m] := 0; m_calls[m] := 0;
    END IF;

    id := c.id;
    gross_before_nanos := gross;
    gross := gross + c.gross_nanos;
    net_nanos := billing_net_of(gross, above, bps) - net;
    net := net + net_nanos;
    IF c.hold IS NOT NULL THEN
      free := free + c.hold;
      w_freed[k] := w_freed[k] + c.hold;
      held_ids := held_ids || c.id;
      spends := c.spends;
    ELSE
      SELECT x.spends INTO spends FROM billing_expiredhold x WHERE x.id = c.id;
      IF FOUND THEN
        late_ids := late_ids || c.id;
      END IF;
    END IF;
    IF spends IS NOT NULL THEN
      PERFORM billing_spend(spends, coalesce(c.hold, 0), net_nanos);
    END IF;
    paid := least(net_nanos, free);
    free := free - paid;
    promo_nanos := least(paid, promo);
    promo := promo - promo_nanos;
    paid_nanos := paid - promo_nanos;
    overdraft_nanos := net_nanos - paid;
    IF net_nanos > 0 AND w_entry[k] IS NULL THEN
      w_entry[k] := nextval('billing_ledgerentry_id_seq');
    END IF;
    w_paid[k] := w_paid[k] + paid_nanos; w_promo[k] := w_promo[k] + promo_nanos; w_short[k] := w_short[k] + overdraft_nanos;
    m_gross[m] := m_gross[m] + c.gross_nanos; m_net[m] := m_net[m] + net_nanos; m_calls[m] := m_calls[m] + 1;
    c_organization[c.ord] := c.organization_id; c_hold[c.ord] := c.hold; c_before[c.ord] := gross_before_nanos;
    c_net[c.ord] := net_nanos; c_paid[c.ord] := paid_nanos; c_promo[c.ord] := promo_nanos; c_short[c.ord] := overdraft_nanos;
    c_entry[c.ord] := CASE WHEN net_nanos > 0 THEN w_entry[k] END;
    IF c.is_tagged THEN
      tagged_ids := tagged_ids || c.id;
    END IF;
    RETURN NEXT;
  END LOOP;
  IF k = 0 THEN
    RETURN;
  END IF;

  DELETE FROM billing_hold WHERE id = ANY(held_ids);
  UPDATE billing_wallet w
  SET posted_nanos = w.posted_nanos - n.paid - n.promo, held_nanos = w.held_nanos - n.freed, promo_nanos = w.promo_nanos - n.promo,
      paid_used_nanos = w.paid_used_nanos + n.paid, promo_used_nanos = w.promo_used_nanos + n.promo,
      overdraft_nanos = w.overdraft_nanos + n.short
  FROM unnest(w_id, w_freed, w_paid, w_promo, w_short) AS n (id, freed, paid, promo, short)
  WHERE w.id = n.id;
  UPDATE billing_monthspend s
  SET gross_nanos = s.gross_nanos + n.gross, net_nanos = s.net_nanos + n.net, calls = s.calls + n.calls
  FROM unnest(m_id, m_gross, m_net, m_calls) AS n (id, gross, net, calls)
  WHERE s.id = n.id;
  INSERT INTO billing_ledgerentry (id, kind, reference, reason, actor, created_at)
  SELECT n.entry, 'usage', 'usage:' || p_batch || ':' || n.id, '', 'gateway', clock_timestamp()
  FROM unnest(w_id, w_entry) AS n (id, entry) WHERE n.entry IS NOT NULL;
  INSERT INTO billing_posting (entry_id, wallet_id, source, destination, amount_nanos)
  SELECT n.entry, n.id, p.source, 'revenue:usage', p.amount
  FROM unnest(w_id, w_entry, w_paid, w_promo, w_short) AS n (id, entry, paid, promo, short),
       LATERAL (VALUES ('wallet:' || n.id, n.paid + n.promo), ('overdraft:' || n.id, n.short)) AS p (source, amount)
  WHERE p.amount > 0;
  PERFORM billing_write_usage(p_batch, p_calls, late_ids, c_organization, c_hold, c_entry, c_before, c_net, c_paid, c_promo, c_short);
  IF cardinality(tagged_ids) > 0 THEN
    PERFORM billing_write_tags(tagged_ids);
  END IF;
END $$;

-- The wallet's month, opened with the plan in force where this is its first call, and the plan's tiers (NULL: no discount).
CREATE OR REPLACE FUNCTION billing_open_month(p_wallet bigint, p_month date,
                                              OUT id bigint, OUT gross_nanos bigint, OUT above bigint[], OUT bps int[])
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  plan bigint;
BEGIN
  SELECT s.id, s.gross_nanos, s.volume_plan_id INTO id, gross_nanos, plan
  FROM billing_monthspend s WHERE s.wallet_id = p_wallet AND s.month = p_month;
  IF NOT FOUND THEN
    plan := billing_plan_of_month(p_wallet, p_month);
    INSERT INTO billing_monthspend AS s (wallet_id, month, volume_plan_id, gross_nanos, net_nanos, calls)
    VALUES (p_wallet, p_month, plan, 0, 0, 0) RETURNING s.id, s.gross_nanos INTO id, gross_nanos;
  END IF;
  IF plan IS NOT NULL THEN
    SELECT array_agg(t.above_nanos ORDER BY t.above_nanos), array_agg(t.discount_bps ORDER BY t.above_nanos) INTO above, bps
    FROM billing_volumetier t WHERE t.plan_id = plan;
  END IF;
END $$;

-- The UsageRecords of a batch; the arrays hold what was worked out, by place in p_calls, and nothing for calls settled before;
-- in the same statement they are added up by day (rollups.sql).
-- Texts that come from outside are cut to their columns: money is not lost for a long id. A quantity that is not named is 0
-- (`requests`: 1), so that the rows of plain chat stay short.
CREATE OR REPLACE FUNCTION billing_write_usage(
  p_batch uuid, p_calls jsonb, p_late uuid[], p_organization bigint[], p_hold bigint[], p_entry bigint[], p_before bigint[],
  p_net bigint[], p_paid bigint[], p_promo bigint[], p_short bigint[]
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  WITH written AS (
  INSERT INTO billing_usagerecord (
    id, organization_id, wallet_id, api_key_id, project_id, tags, margin_bps, month, surface, is_stream, route_name, provider_name, upstream_model, upstream_id,
    price_version_id, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, requests,
    audio_input_tokens, audio_output_tokens, image_input_tokens, image_output_tokens, images, audio_seconds, characters, searches,
    hold_nanos, gross_nanos, net_nanos, paid_nanos, promo_nanos, overdraft_nanos, cost_nanos, gross_before_nanos, is_late, outcome,
    status_code, error_code, finish_reason, usage_source, attempts, routing, experiment_arm_id, is_own_key, first_token_ms,
    latency_ms, overhead_us, batch_id, entry_id, created_at)
  SELECT
    i.id, p_organization[i.ord], i.wallet_id, i.api_key_id, i.project_id, i.tags, coalesce(i.margin_bps, 0), billing_month_of_id(i.id), i.surface, coalesce(i.is_stream, false),
    left(i.route_name, 100), left(coalesce(i.provider_name, ''), 40), left(coalesce(i.upstream_model, ''), 120),
    left(coalesce(i.upstream_id, ''), 120), i.price_version_id, coalesce(i.input_tokens, 0), coalesce(i.cached_input_tokens, 0),
    coalesce(i.cache_write_tokens, 0), coalesce(i.output_tokens, 0), coalesce(i.reasoning_tokens, 0), coalesce(i.requests, 1),
    coalesce(i.audio_input_tokens, 0), coalesce(i.audio_output_tokens, 0), coalesce(i.image_input_tokens, 0),
    coalesce(i.image_output_tokens, 0), coalesce(i.images, 0), coalesce(i.audio_seconds, 0), coalesce(i.characters, 0),
    coalesce(i.searches, 0),
    p_hold[i.ord], i.gross_nanos, p_net[i.ord], p_paid[i.ord], p_promo[i.ord], p_short[i.ord], coalesce(i.cost_nanos, 0),
    p_before[i.ord], i.id = ANY(p_late), i.outcome, coalesce(i.status_code, 200), left(coalesce(i.error_code, ''), 40),
    left(coalesce(i.finish_reason, ''), 40), i.usage_source, coalesce(i.attempts, '[]'), i.routing,
    i.experiment_arm_id, coalesce(i.is_own_key, false), i.first_token_ms, coalesce(i.latency_ms, 0),
    coalesce(i.overhead_us, 0), p_batch, p_entry[i.ord], billing_instant_of_id(i.id)
  FROM ROWS FROM (jsonb_to_recordset(p_calls) AS (
         id uuid, wallet_id bigint, api_key_id bigint, surface text, is_stream boolean, route_name text, provider_name text,
         upstream_model text, upstream_id text, price_version_id bigint, input_tokens int, cached_input_tokens int,
         cache_write_tokens int, output_tokens int, reasoning_tokens int, requests int, audio_input_tokens int,
         audio_output_tokens int, image_input_tokens int, image_output_tokens int, images int, audio_seconds int, characters int,
         searches int, gross_nanos bigint, cost_nanos bigint, outcome text, status_code smallint, error_code text,
         finish_reason text, usage_source text, attempts jsonb, routing jsonb, experiment_arm_id bigint, is_own_key boolean,
         first_token_ms int, latency_ms int, overhead_us int, project_id bigint, tags text[], margin_bps smallint)) WITH ORDINALITY AS i (
         id, wallet_id, api_key_id, surface, is_stream, route_name, provider_name, upstream_model, upstream_id, price_version_id,
         input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, requests, audio_input_tokens,
         audio_output_tokens, image_input_tokens, image_output_tokens, images, audio_seconds, characters, searches, gross_nanos,
         cost_nanos, outcome, status_code, error_code, finish_reason, usage_source, attempts, routing, experiment_arm_id, is_own_key, first_token_ms,
         latency_ms, overhead_us, project_id, tags, margin_bps, ord)
  WHERE p_net[i.ord] IS NOT NULL
  RETURNING *, timezone('America/Sao_Paulo', created_at)::date AS day
  )
  INSERT INTO billing_usageday AS d (
    organization_id, day, api_key_id, project_id, route_name, provider_name, is_own_key, calls, failed, gross_nanos, net_nanos,
    paid_nanos, promo_nanos, overdraft_nanos, cost_nanos, latency_ms, input_tokens, cached_input_tokens, cache_write_tokens,
    output_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, image_input_tokens, image_output_tokens, images,
    audio_seconds, characters, searches)
  SELECT u.organization_id, u.day, u.api_key_id, coalesce(u.project_id, 0), u.route_name, u.provider_name, u.is_own_key, count(*),
         count(*) FILTER (WHERE u.outcome = 'failed'), sum(u.gross_nanos), sum(u.net_nanos), sum(u.paid_nanos), sum(u.promo_nanos),
         sum(u.overdraft_nanos), sum(u.cost_nanos), sum(u.latency_ms), sum(u.input_tokens), sum(u.cached_input_tokens),
         sum(u.cache_write_tokens), sum(u.output_tokens), sum(u.reasoning_tokens), sum(u.audio_input_tokens),
         sum(u.audio_output_tokens), sum(u.image_input_tokens), sum(u.image_output_tokens), sum(u.images), sum(u.audio_seconds),
         sum(u.characters), sum(u.searches)
  FROM written u
  GROUP BY u.organization_id, u.day, u.api_key_id, coalesce(u.project_id, 0), u.route_name, u.provider_name, u.is_own_key
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
END $$;

-- The calls that were just written, added up by day and tag.
CREATE OR REPLACE FUNCTION billing_write_tags(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO billing_tagday AS d (
    organization_id, day, tag, route_name, calls, failed, gross_nanos, net_nanos, input_tokens, output_tokens)
  SELECT u.organization_id, timezone('America/Sao_Paulo', u.created_at)::date AS day, t.tag, u.route_name, count(*),
         count(*) FILTER (WHERE u.outcome = 'failed'), sum(u.gross_nanos), sum(u.net_nanos),
         sum(u.input_tokens::bigint + u.cached_input_tokens + u.cache_write_tokens + u.audio_input_tokens + u.image_input_tokens),
         sum(u.output_tokens::bigint + u.reasoning_tokens + u.audio_output_tokens + u.image_output_tokens)
  FROM unnest(p_ids) AS i (id)
  -- LIMIT: one index probe per call, whatever the planner believes about the tables' sizes
  CROSS JOIN LATERAL (SELECT x.* FROM billing_usagerecord x WHERE x.id = i.id LIMIT 1) u
  CROSS JOIN LATERAL unnest(u.tags) AS t (tag)
  GROUP BY u.organization_id, day, t.tag, u.route_name
  ON CONFLICT (organization_id, day, tag, route_name) DO UPDATE SET
    calls = d.calls + excluded.calls, failed = d.failed + excluded.failed, gross_nanos = d.gross_nanos + excluded.gross_nanos,
    net_nanos = d.net_nanos + excluded.net_nanos, input_tokens = d.input_tokens + excluded.input_tokens,
    output_tokens = d.output_tokens + excluded.output_tokens;
END $$;
