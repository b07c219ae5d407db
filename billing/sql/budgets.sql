-- Budgets: a call's hold is taken from the windows of every budget that covers it, in the wallet's transaction and under its lock,
-- so calls that run can't outrun a limit. All budgets of a wallet's organization are under that one lock.

-- The first day of a window ('day', 'week' from Monday, 'month') at an instant, in São Paulo.
CREATE OR REPLACE FUNCTION billing_window_start(p_window text, p_at timestamptz) RETURNS date
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN date_trunc(p_window, timezone('America/Sao_Paulo', p_at))::date;

-- The window's row, opened with what its days came to so far (calls that were under way before the budget was made are not in it).
CREATE OR REPLACE FUNCTION billing_open_spend(p_budget bigint, p_starts date) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  spend bigint;
  b record;
  before_on date;
  spent bigint;
BEGIN
  SELECT s.id INTO spend FROM billing_budgetspend s WHERE s.budget_id = p_budget AND s.starts_on = p_starts;
  IF FOUND THEN
    RETURN spend;
  END IF;
  SELECT x.organization_id, x.scope, x.subject_id, x.tag, x."window" INTO b FROM billing_budget x WHERE x.id = p_budget;
  before_on := (p_starts + ('1 ' || b."window")::interval)::date;
  IF b.scope = 'tag' THEN
    SELECT sum(t.net_nanos) INTO spent FROM billing_tagday t
    WHERE t.organization_id = b.organization_id AND t.day >= p_starts AND t.day < before_on AND t.tag = b.tag;
  ELSE
    SELECT sum(u.net_nanos) INTO spent FROM billing_usageday u
    WHERE u.organization_id = b.organization_id AND u.day >= p_starts AND u.day < before_on AND CASE b.scope
      WHEN 'organization' THEN true
      WHEN 'project' THEN u.project_id = b.subject_id
      WHEN 'key' THEN u.api_key_id = b.subject_id
      WHEN 'member' THEN u.api_key_id IN (SELECT k.id FROM accounts_apikey k WHERE k.created_by_id = b.subject_id)
    END;
  END IF;
  INSERT INTO billing_budgetspend AS s (budget_id, starts_on, spent_nanos, held_nanos, alerted_percent)
  VALUES (p_budget, p_starts, coalesce(spent, 0), 0, 0)
  ON CONFLICT (budget_id, starts_on) DO UPDATE SET held_nanos = s.held_nanos RETURNING s.id INTO spend;
  RETURN spend;
END $$;

-- Like billing_hold_call, for a call that budgets cover. result 6: the hard budget `budget_id` has only `left_nanos` left, nothing was
-- held. Budgets of another organization, or out of force, are not looked at.
CREATE OR REPLACE FUNCTION billing_hold_budgeted(p_session bigint, p_id uuid, p_wallet bigint, p_amount bigint, p_budgets bigint[],
  OUT result smallint, OUT available_nanos bigint, OUT budget_id bigint, OUT left_nanos bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  organization bigint;
  b record;
  windows bigint[] := '{}';
BEGIN
  PERFORM 1 FROM billing_gatewaysession s WHERE s.id = p_session AND s.state = 'live' FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'session % is fenced', p_session USING ERRCODE = 'TK001';
  END IF;
  SELECT w.organization_id, w.posted_nanos - w.held_nanos INTO organization, available_nanos
  FROM billing_wallet w WHERE w.id = p_wallet FOR NO KEY UPDATE;
  IF NOT EXISTS (SELECT 1 FROM billing_hold h WHERE h.id = p_id) AND NOT EXISTS (SELECT 1 FROM billing_usagerecord u WHERE u.id = p_id)
     AND NOT EXISTS (SELECT 1 FROM billing_expiredhold e WHERE e.id = p_id) THEN
    FOR b IN
      SELECT x.id AS budget, x.is_hard, x.limit_nanos - s.spent_nanos - s.held_nanos AS rest, s.id AS spend
      FROM billing_budget x
      JOIN LATERAL (SELECT billing_open_spend(x.id, billing_window_start(x."window", billing_instant_of_id(p_id))) AS id) o ON true
      JOIN billing_budgetspend s ON s.id = o.id
      WHERE x.id = ANY(p_budgets) AND x.organization_id = organization AND x.is_active
      ORDER BY x.id
    LOOP
      windows := windows || b.spend;
      IF b.is_hard AND b.rest < p_amount AND (left_nanos IS NULL OR b.rest < left_nanos) THEN
        budget_id := b.budget;
        left_nanos := greatest(b.rest, 0);
      END IF;
    END LOOP;
  END IF;
  IF budget_id IS NOT NULL THEN
    result := 6;
    RETURN;
  END IF;
  SELECT h.result, h.available_nanos INTO result, available_nanos FROM billing_hold_one(p_session, p_id, p_wallet, p_amount) h;
  IF result = 1 AND cardinality(windows) > 0 THEN
    UPDATE billing_budgetspend s SET held_nanos = s.held_nanos + p_amount WHERE s.id = ANY(windows);
    UPDATE billing_hold h SET spends = windows WHERE h.id = p_id;
  END IF;
END $$;

-- billing_hold_batch for calls of which some are covered by budgets: p_budgets holds a bigint[] literal for each call, '' for none.
CREATE OR REPLACE FUNCTION billing_hold_batch_v2(p_session bigint, p_ids uuid[], p_wallets bigint[], p_amounts bigint[], p_budgets text[])
RETURNS TABLE (ord int, result smallint, available_nanos bigint, budget_id bigint, left_nanos bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  plain int[];
BEGIN
  PERFORM 1 FROM billing_gatewaysession s WHERE s.id = p_session AND s.state = 'live' FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'session % is fenced', p_session USING ERRCODE = 'TK001';
  END IF;
  PERFORM 1 FROM billing_wallet w WHERE w.id = ANY(p_wallets) ORDER BY w.id FOR NO KEY UPDATE;
  FOR ord IN SELECT i.ord FROM unnest(p_budgets) WITH ORDINALITY AS i (budgets, ord) WHERE i.budgets <> '' ORDER BY i.ord LOOP
    SELECT h.result, h.available_nanos, h.budget_id, h.left_nanos INTO result, available_nanos, budget_id, left_nanos
    FROM billing_hold_budgeted(p_session, p_ids[ord], p_wallets[ord], p_amounts[ord], p_budgets[ord]::bigint[]) h;
    RETURN NEXT;
  END LOOP;
  SELECT array_agg(i.ord ORDER BY i.ord) INTO plain FROM unnest(p_budgets) WITH ORDINALITY AS i (budgets, ord) WHERE i.budgets = '';
  IF plain IS NOT NULL THEN
    RETURN QUERY
    SELECT plain[h.ord], h.result, h.available_nanos, NULL::bigint, NULL::bigint
    FROM billing_hold_batch(
      p_session, ARRAY(SELECT p_ids[o] FROM unnest(plain) WITH ORDINALITY AS x (o, n) ORDER BY n),
      ARRAY(SELECT p_wallets[o] FROM unnest(plain) WITH ORDINALITY AS x (o, n) ORDER BY n),
      ARRAY(SELECT p_amounts[o] FROM unnest(plain) WITH ORDINALITY AS x (o, n) ORDER BY n)) h;
  END IF;
END $$;

-- A hold leaves its windows (p_hold nanos; 0 where it had left them before), and what the call came to counts there. Under the wallet's lock.
CREATE OR REPLACE FUNCTION billing_spend(p_spends bigint[], p_hold bigint, p_net bigint) RETURNS void
LANGUAGE sql AS $$
  UPDATE billing_budgetspend s SET held_nanos = s.held_nanos - p_hold, spent_nanos = s.spent_nanos + p_net WHERE s.id = ANY(p_spends)
$$;
