-- Usage by day, written by billing_write_usage (settle.sql) in the settling transaction; these make it again from the usage records.

-- Adds up the days of a fiscal month anew. For a database from before the rollups, and for tests that write usage in bulk.
CREATE OR REPLACE FUNCTION billing_rebuild_usage_days(p_month date) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  made bigint;
BEGIN
  PERFORM 1 FROM billing_wallet ORDER BY id FOR NO KEY UPDATE;  -- nobody settles meanwhile
  DELETE FROM billing_usageday WHERE day >= p_month AND day < p_month + interval '1 month';
  DELETE FROM billing_tagday WHERE day >= p_month AND day < p_month + interval '1 month';
  INSERT INTO billing_usageday (
    organization_id, day, api_key_id, project_id, route_name, provider_name, is_own_key, calls, failed, gross_nanos, net_nanos,
    paid_nanos, promo_nanos, overdraft_nanos, cost_nanos, latency_ms, input_tokens, cached_input_tokens, cache_write_tokens,
    output_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, image_input_tokens, image_output_tokens, images,
    audio_seconds, characters, searches)
  SELECT u.organization_id, timezone('America/Sao_Paulo', u.created_at)::date AS day, u.api_key_id, coalesce(u.project_id, 0),
         u.route_name, u.provider_name, u.is_own_key, count(*), count(*) FILTER (WHERE u.outcome = 'failed'), sum(u.gross_nanos),
         sum(u.net_nanos), sum(u.paid_nanos), sum(u.promo_nanos), sum(u.overdraft_nanos), sum(u.cost_nanos), sum(u.latency_ms),
         sum(u.input_tokens), sum(u.cached_input_tokens), sum(u.cache_write_tokens), sum(u.output_tokens), sum(u.reasoning_tokens),
         sum(u.audio_input_tokens), sum(u.audio_output_tokens), sum(u.image_input_tokens), sum(u.image_output_tokens), sum(u.images),
         sum(u.audio_seconds), sum(u.characters), sum(u.searches)
  FROM billing_usagerecord u
  WHERE u.id >= billing_first_id_of_month(p_month) AND u.id < billing_first_id_of_month((p_month + interval '1 month')::date)
  GROUP BY u.organization_id, day, u.api_key_id, coalesce(u.project_id, 0), u.route_name, u.provider_name, u.is_own_key;
  GET DIAGNOSTICS made = ROW_COUNT;
  INSERT INTO billing_tagday (organization_id, day, tag, route_name, calls, failed, gross_nanos, net_nanos, input_tokens, output_tokens)
  SELECT u.organization_id, timezone('America/Sao_Paulo', u.created_at)::date AS day, t.tag, u.route_name, count(*),
         count(*) FILTER (WHERE u.outcome = 'failed'), sum(u.gross_nanos), sum(u.net_nanos),
         sum(u.input_tokens::bigint + u.cached_input_tokens + u.cache_write_tokens + u.audio_input_tokens + u.image_input_tokens),
         sum(u.output_tokens::bigint + u.reasoning_tokens + u.audio_output_tokens + u.image_output_tokens)
  FROM billing_usagerecord u CROSS JOIN LATERAL unnest(u.tags) AS t (tag)
  WHERE u.id >= billing_first_id_of_month(p_month) AND u.id < billing_first_id_of_month((p_month + interval '1 month')::date)
  GROUP BY u.organization_id, day, t.tag, u.route_name;
  RETURN made;
END $$;
