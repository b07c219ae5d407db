-- The chain over the books. What is sealed: each ledger entry with its postings and the usage records it stands for, and each free
-- call (a usage record without an entry). Read `billing/models/seals.py` for the link.
--
-- The canonical text is PostgreSQL's own text of rows with the columns named here, in UTC: quoted where it must be, an empty text
-- unlike an empty value, so no two contents share a text. A table that gets more columns gets another `version` here; links of the
-- old one keep the old columns.

-- SHA-256 of the canonical text of each entry or call, as they stand now; nothing for those that are gone.
CREATE OR REPLACE FUNCTION billing_seal_items(p_entries bigint[], p_calls uuid[])
RETURNS TABLE (entry_id bigint, call_id uuid, item bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
AS $$
  WITH used AS (
    SELECT u.entry_id, u.id, ROW(
      u.id, u.organization_id, u.wallet_id, u.api_key_id, u.project_id, u.tags, u.margin_bps, u.month, u.surface, u.is_stream,
      u.route_name, u.provider_name, u.upstream_model, u.upstream_id, u.price_version_id, u.input_tokens, u.cached_input_tokens,
      u.cache_write_tokens, u.output_tokens, u.reasoning_tokens, u.requests, u.audio_input_tokens, u.audio_output_tokens,
      u.image_input_tokens, u.image_output_tokens, u.images, u.audio_seconds, u.characters, u.searches, u.hold_nanos, u.gross_nanos,
      u.net_nanos, u.paid_nanos, u.promo_nanos, u.overdraft_nanos, u.cost_nanos, u.gross_before_nanos, u.is_late, u.outcome,
      u.status_code, u.error_code, u.finish_reason, u.usage_source, u.attempts, u.routing, u.experiment_arm_id, u.is_own_key,
      u.first_token_ms, u.latency_ms, u.overhead_us, u.batch_id, u.entry_id, u.created_at)::text AS line
    FROM (SELECT * FROM billing_usagerecord WHERE entry_id = ANY(p_entries)
          UNION ALL SELECT * FROM billing_usagerecord WHERE id = ANY(p_calls) AND entry_id IS NULL) u
  ), calls AS (
    SELECT x.entry_id, string_agg(x.line, E'\n' ORDER BY x.id) AS lines FROM used x GROUP BY x.entry_id
  ), moved AS (
    SELECT p.entry_id,
           string_agg(ROW(p.id, p.entry_id, p.wallet_id, p.source, p.destination, p.amount_nanos)::text, E'\n' ORDER BY p.id) AS lines
    FROM billing_posting p WHERE p.entry_id = ANY(p_entries) GROUP BY p.entry_id
  )
  SELECT e.id, NULL::uuid, sha256(convert_to(concat_ws(E'\n',
    ROW(e.id, e.kind, e.reference, e.reverses_id, e.reason, e.actor, e.created_at)::text, m.lines, c.lines), 'UTF8'))
  FROM billing_ledgerentry e LEFT JOIN moved m ON m.entry_id = e.id LEFT JOIN calls c ON c.entry_id = e.id
  WHERE e.id = ANY(p_entries)
  UNION ALL
  SELECT NULL, x.id, sha256(convert_to(x.line, 'UTF8')) FROM used x WHERE x.entry_id IS NULL
$$;

-- Adds at most p_max links for what is not sealed yet; returns how many. Whether something is sealed is asked of each one, since an
-- older number may commit after a younger one. Every minute that is asked of the last hours only, at night (p_all) of everything.
CREATE OR REPLACE FUNCTION billing_seal(p_max int, p_all boolean) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  head record;
  at bigint;
  digest bytea;
  link record;
  entries bigint[];
  calls uuid[];
  from_entry bigint := 0;
  from_call uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('billing_seal'));  -- one at a time: links follow each other
  SELECT s.seq, s.digest INTO head FROM billing_ledgerseal s ORDER BY s.seq DESC LIMIT 1;
  at := coalesce(head.seq, 0);
  digest := coalesce(head.digest, decode(repeat('00', 32), 'hex'));
  IF NOT p_all THEN
    SELECT coalesce(min(s.entry_id), 0) INTO from_entry FROM (
      SELECT x.entry_id FROM billing_ledgerseal x
      WHERE x.sealed_at < clock_timestamp() - interval '1 hour' AND x.entry_id IS NOT NULL ORDER BY x.sealed_at DESC LIMIT 1) s;
    from_call := (lpad(to_hex((extract(epoch FROM clock_timestamp() - interval '6 hours') * 1000)::bigint), 12, '0')
                  || repeat('0', 20))::uuid;
  END IF;
  SELECT array_agg(x.id) INTO entries FROM (
    SELECT e.id FROM billing_ledgerentry e
    WHERE e.id > from_entry AND NOT EXISTS (SELECT 1 FROM billing_ledgerseal s WHERE s.entry_id = e.id)
    ORDER BY e.id LIMIT p_max) x;
  SELECT array_agg(x.id) INTO calls FROM (
    SELECT u.id FROM billing_usagerecord u
    WHERE u.entry_id IS NULL AND u.id > from_call AND NOT EXISTS (SELECT 1 FROM billing_ledgerseal s WHERE s.call_id = u.id)
    ORDER BY u.id LIMIT p_max - coalesce(cardinality(entries), 0)) x;
  FOR link IN
    SELECT i.entry_id, i.call_id, i.item FROM billing_seal_items(coalesce(entries, '{}'), coalesce(calls, '{}')) i
    ORDER BY i.entry_id, i.call_id
  LOOP
    at := at + 1;
    digest := sha256(digest || link.item);
    INSERT INTO billing_ledgerseal (seq, entry_id, call_id, version, digest, sealed_at)
    VALUES (at, link.entry_id, link.call_id, 1, digest, clock_timestamp());
  END LOOP;
  RETURN at - coalesce(head.seq, 0);
END $$;

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['billing_ledgerseal', 'billing_dayclose', 'billing_monthclose'] LOOP
    EXECUTE format('CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_deny()', name);
    EXECUTE format('CREATE OR REPLACE TRIGGER no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_deny()', name);
  END LOOP;
END $$;
