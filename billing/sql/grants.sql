-- The application's role reads the ledger; it writes only by calling the functions, which run as their owner.

DO $$
DECLARE
  has_app boolean := EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'tokia_app');
  item text;
BEGIN
  FOR item IN SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'billing\_%' LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', item);
    IF has_app THEN
      EXECUTE format('REVOKE ALL ON FUNCTION %s FROM tokia_app', item);
    END IF;
  END LOOP;
  IF NOT has_app THEN
    RETURN;
  END IF;
  FOR item IN SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND (
      (prosecdef AND proname LIKE 'billing\_%') OR proname IN (
        'billing_ms_of_id', 'billing_instant_of_id', 'billing_month_of_id', 'billing_first_id_of_month', 'billing_net_of',
        'billing_plan_of', 'billing_lots'))
  LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO tokia_app', item);
  END LOOP;
  FOR item IN SELECT relid::regclass::text FROM pg_partition_tree('billing_usagerecord') UNION ALL SELECT unnest(ARRAY[
      'billing_wallet', 'billing_lot', 'billing_hold', 'billing_expiredhold', 'billing_gatewaysession', 'billing_ledgerentry',
      'billing_posting', 'billing_monthspend', 'billing_settledbatch'])
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM tokia_app; GRANT SELECT ON %s TO tokia_app', item, item);
  END LOOP;
END $$;
