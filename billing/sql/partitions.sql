-- Usage records are range-partitioned on the id itself: a key on created_at would let a retry be billed twice.

-- Makes the partitions of the current fiscal month and of p_months after it; returns how many were made. What the default
-- partition had caught for such a month moves into it.
CREATE OR REPLACE FUNCTION billing_ensure_partitions(p_months int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  this_month date := date_trunc('month', timezone('America/Sao_Paulo', clock_timestamp()))::date;
  first_on date;
  next_on date;
  name text;
  made int := 0;
BEGIN
  FOR i IN 0..p_months LOOP
    first_on := (this_month + make_interval(months => i))::date;
    next_on := (first_on + interval '1 month')::date;
    name := 'billing_usagerecord_' || to_char(first_on, 'YYYY_MM');
    CONTINUE WHEN to_regclass(name) IS NOT NULL;
    EXECUTE format('CREATE TABLE %I (LIKE billing_usagerecord INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    IF EXISTS (SELECT 1 FROM billing_usagerecord_default
               WHERE id >= billing_first_id_of_month(first_on) AND id < billing_first_id_of_month(next_on)) THEN
      ALTER TABLE billing_usagerecord_default DISABLE TRIGGER USER;  -- the records move, they don't change
      EXECUTE format(
        'WITH moved AS (DELETE FROM billing_usagerecord_default WHERE id >= $1 AND id < $2 RETURNING *)'
        ' INSERT INTO %I SELECT * FROM moved', name)
        USING billing_first_id_of_month(first_on), billing_first_id_of_month(next_on);
      ALTER TABLE billing_usagerecord_default ENABLE TRIGGER USER;
    END IF;
    EXECUTE format('ALTER TABLE billing_usagerecord ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name,
                   billing_first_id_of_month(first_on), billing_first_id_of_month(next_on));
    PERFORM billing_protect(name::regclass);
    made := made + 1;
  END LOOP;
  RETURN made;
END $$;

-- No TRUNCATE, and no write by the application's role, around the parent table. (Row triggers come from the parent.)
CREATE OR REPLACE FUNCTION billing_protect(p_table regclass) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION billing_deny()', p_table);
  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'tokia_app') THEN
    EXECUTE format('REVOKE ALL ON %s FROM tokia_app; GRANT SELECT ON %s TO tokia_app', p_table, p_table);
  END IF;
END $$;
