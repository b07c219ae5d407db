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
        'billing_plan_of', 'billing_plan_of_month', 'billing_lots', 'billing_window_start'))
  LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO tokia_app', item);
  END LOOP;
  FOR item IN SELECT relid::regclass::text FROM pg_partition_tree('billing_usagerecord')
    UNION ALL SELECT x.name FROM unnest(ARRAY[
      'billing_wallet', 'billing_lot', 'billing_hold', 'billing_expiredhold', 'billing_gatewaysession', 'billing_ledgerentry',
      'billing_posting', 'billing_monthspend', 'billing_settledbatch', 'billing_usageday', 'billing_tagday', 'billing_ledgerseal',
      'billing_dayclose', 'billing_monthclose']) AS x (name)
    WHERE to_regclass(x.name) IS NOT NULL  -- the first migrations know only some of them
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM tokia_app; GRANT SELECT ON %s TO tokia_app', item, item);
  END LOOP;
  IF to_regclass('billing_budgetspend') IS NOT NULL THEN  -- who was told what is the application's own affair
    REVOKE ALL ON billing_budgetspend FROM tokia_app;
    GRANT SELECT, UPDATE (alerted_percent) ON billing_budgetspend TO tokia_app;
  END IF;
  IF EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = 'billing_wallet'::regclass AND attname = 'low_balance_nanos') THEN
    GRANT UPDATE (low_balance_nanos) ON billing_wallet TO tokia_app;  -- and so is when to tell
  END IF;
END $$;
