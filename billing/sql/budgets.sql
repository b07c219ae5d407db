-- Budgets: a call's hold is taken from the windows of every budget that covers it, in the wallet's transaction and under its lock,
-- so calls that run can't outrun a limit. All budgets of a wallet's organization are under that one lock.

-- The first day of a window ('day', 'week' from Monday, 'month') at an instant, in São Paulo.
CREATE OR REPLACE FUNCTION billing_window_start(p_window text, p_at timestamptz) RETURNS date
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN date_trunc(p_window, timezone('America/Sao_Paulo', p_at))::date;

-- What the calls that a budget covers came to in its window from p_starts on, by the days' rollups.
CREATE OR REPLACE FUNCTION billing_spent_of(p_budget bigint, p_starts date) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  b record;
  before_on date;
  spent bigint;
BEGIN
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
      WHEN 'member' THEN u.api_key_id IN (
        SELECT k.id FROM accounts_apikey k WHERE k.organization_id = b.organization_id AND k.created_by_id = b.subject_id)
    END;
  END IF;
  RETURN coalesce(spent, 0);
END $$;

-- The window's row, opened with what its days came to so far. Under the wallet's lock, so that nothing is settled meanwhile.
CREATE OR REPLACE FUNCTION billing_open_spend(p_budget bigint, p_starts date) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  spend bigint;
BEGIN
  SELECT s.id INTO spend FROM billing_budgetspend s WHERE s.budget_id = p_budget AND s.starts_on = p_starts;
  IF NOT FOUND THEN
    INSERT INTO billing_budgetspend (budget_id, starts_on, spent_nanos, held_nanos, alerted_percent)
    VALUES (p_budget, p_starts, billing_spent_of(p_budget, p_starts), 0, 0) RETURNING id INTO spend;
  END IF;
  RETURN spend;
END $$;

-- Opens today's windows of an organization's budgets in force, and counts again, from the days' rollups, what was spent in them: calls
-- that were under way when a budget was made, or that a gateway admitted in the second before it knew, were not taken from it.
-- Returns how many windows that changed. For whoever makes a budget, and for a task.
CREATE OR REPLACE FUNCTION billing_count_spends(p_organization bigint) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  changed int;
BEGIN
  PERFORM 1 FROM billing_wallet w WHERE w.organization_id = p_organization FOR NO KEY UPDATE;
  PERFORM billing_open_spend(x.id, billing_window_start(x."window", clock_timestamp()))
  FROM billing_budget x WHERE x.organization_id = p_organization AND x.is_active;
  UPDATE billing_budgetspend s SET spent_nanos = n.spent
  FROM (SELECT y.id, billing_spent_of(x.id, y.starts_on) AS spent
        FROM billing_budget x JOIN billing_budgetspend y ON y.budget_id = x.id
          AND y.starts_on = billing_window_start(x."window", clock_timestamp())
        WHERE x.organization_id = p_organization AND x.is_active) n
  WHERE s.id = n.id AND s.spent_nanos <> n.spent;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END $$;

-- Holds a call from the wallet and from its budgets' windows; whoever calls it has found the session live, under its lock.
CREATE OR REPLACE FUNCTION billing_hold_within(p_session bigint, p_id uuid, p_wallet bigint, p_amount bigint, p_budgets bigint[],
  OUT result smallint, OUT available_nanos bigint, OUT budget_id bigint, OUT left_nanos bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  organization bigint;
  b record;
  windows bigint[] := '{}';
BEGIN
  SELECT w.organization_id, w.posted_nanos - w.held_nanos INTO organization, available_nanos
  FROM billing_wallet w WHERE w.id = p_wallet FOR NO KEY UPDATE;
  -- A replay, or a clock that is off, takes nothing from windows and opens none.
  IF organization IS NULL OR abs(billing_ms_of_id(p_id) - extract(epoch FROM clock_timestamp()) * 1000) > 60000
     OR EXISTS (SELECT 1 FROM billing_hold h WHERE h.id = p_id) OR EXISTS (SELECT 1 FROM billing_usagerecord u WHERE u.id = p_id)
     OR EXISTS (SELECT 1 FROM billing_expiredhold e WHERE e.id = p_id) THEN
    SELECT h.result, h.available_nanos INTO result, available_nanos FROM billing_hold_one(p_session, p_id, p_wallet, p_amount) h;
    RETURN;
  END IF;
  FOR b IN
    SELECT x.id AS budget, x.is_hard, x.limit_nanos, o.starts_on, s.id AS spend, s.spent_nanos + s.held_nanos AS taken
    FROM billing_budget x
    CROSS JOIN LATERAL (SELECT billing_window_start(x."window", billing_instant_of_id(p_id)) AS starts_on) o
    LEFT JOIN LATERAL (SELECT y.id, y.spent_nanos, y.held_nanos FROM billing_budgetspend y
                       WHERE y.budget_id = x.id AND y.starts_on = o.starts_on LIMIT 1) s ON true
    WHERE x.id = ANY(p_budgets) AND x.organization_id = organization AND x.is_active
    ORDER BY x.id
  LOOP
    IF b.spend IS NULL THEN  -- the window's first call; a statement does not see the row that a function opens within it
      b.spend := billing_open_spend(b.budget, b.starts_on);
      SELECT s.spent_nanos + s.held_nanos INTO b.taken FROM billing_budgetspend s WHERE s.id = b.spend;
    END IF;
    windows := windows || b.spend;
    IF b.is_hard AND b.limit_nanos - b.taken < p_amount AND (left_nanos IS NULL OR b.limit_nanos - b.taken < left_nanos) THEN
      budget_id := b.budget;
      left_nanos := b.limit_nanos - b.taken;
    END IF;
  END LOOP;
  IF budget_id IS NOT NULL THEN
    result := 6;
    left_nanos := greatest(left_nanos, 0);
  ELSIF p_amount > available_nanos THEN
    result := 0;
  ELSE  -- as billing_hold_one places it, with the windows in the same row
    INSERT INTO billing_hold (id, wallet_id, purpose, amount_nanos, session_id, spends, created_at)
    VALUES (p_id, p_wallet, 'call', p_amount, p_session, nullif(windows, '{}'), clock_timestamp());
    UPDATE billing_wallet w SET held_nanos = w.held_nanos + p_amount WHERE w.id = p_wallet;
    UPDATE billing_budgetspend s SET held_nanos = s.held_nanos + p_amount WHERE s.id = ANY(windows);
    available_nanos := available_nanos - p_amount;
    result := 1;
  END IF;
END $$;

-- Like billing_hold_call, for a call that budgets cover. result 6: the hard budget `budget_id` (of several, the one with the least
-- left) has only `left_nanos` left; nothing was held. Budgets of another organization, or out of force, are not looked at.
CREATE OR REPLACE FUNCTION billing_hold_budgeted(p_session bigint, p_id uuid, p_wallet bigint, p_amount bigint, p_budgets bigint[],
  OUT result smallint, OUT available_nanos bigint, OUT budget_id bigint, OUT left_nanos bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
  PERFORM 1 FROM billing_gatewaysession s WHERE s.id = p_session AND s.state = 'live' FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'session % is fenced', p_session USING ERRCODE = 'TK001';
  END IF;
  SELECT h.result, h.available_nanos, h.budget_id, h.left_nanos INTO result, available_nanos, budget_id, left_nanos
  FROM billing_hold_within(p_session, p_id, p_wallet, p_amount, p_budgets) h;
END $$;

-- billing_hold_batch for calls of which some are covered by budgets: p_budgets holds a bigint[] literal for each call, '' for none. Per
-- wallet, first those with budgets, then the others, each in their order.
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
  FOR ord IN SELECT i.ord FROM unnest(p_budgets) WITH ORDINALITY AS i (budgets, ord) WHERE coalesce(i.budgets, '') <> '' ORDER BY i.ord LOOP
    SELECT h.result, h.available_nanos, h.budget_id, h.left_nanos INTO result, available_nanos, budget_id, left_nanos
    FROM billing_hold_within(p_session, p_ids[ord], p_wallets[ord], p_amounts[ord], p_budgets[ord]::bigint[]) h;
    RETURN NEXT;
  END LOOP;
  SELECT array_agg(i.ord ORDER BY i.ord) INTO plain FROM unnest(p_budgets) WITH ORDINALITY AS i (budgets, ord)
  WHERE coalesce(i.budgets, '') = '';
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
