-- F: a month's gross after the volume discount, exact in integers. The same as billing/pricing.py::net_of.
-- p_above rises, p_bps are hundredths of a percent. The share of each tier is taken by quotient and remainder, so that no
-- product leaves bigint; the sum is rounded against the discount once, by less than one nano.
CREATE OR REPLACE FUNCTION billing_net_of(p_gross bigint, p_above bigint[], p_bps int[]) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  upper_end bigint := p_gross;
  part bigint;
  discount bigint := 0;
  remainders bigint := 0;
BEGIN
  IF p_above IS NULL OR p_gross <= p_above[1] THEN
    RETURN p_gross;
  END IF;
  FOR i IN REVERSE cardinality(p_above)..1 LOOP
    IF upper_end > p_above[i] THEN
      part := upper_end - p_above[i];
      discount := discount + part / 10000 * p_bps[i];
      remainders := remainders + part % 10000 * p_bps[i];
      upper_end := p_above[i];
    END IF;
  END LOOP;
  RETURN p_gross - discount - (remainders + 9999) / 10000;
END $$;

-- The plan of a wallet's new month: its own, else the one in force; only published plans are frozen and may count.
CREATE OR REPLACE FUNCTION billing_plan_of(p_wallet bigint) RETURNS bigint
LANGUAGE sql STABLE AS $$
  SELECT p.id FROM billing_volumeplan p
  WHERE p.published_at IS NOT NULL
    AND p.id = coalesce((SELECT volume_plan_id FROM billing_wallet WHERE id = p_wallet),
                        (SELECT id FROM billing_volumeplan WHERE is_default))
$$;

-- The same for a month: what was negotiated for it goes first.
CREATE OR REPLACE FUNCTION billing_plan_of_month(p_wallet bigint, p_month date) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
  plan bigint;
BEGIN
  SELECT c.plan_id INTO plan
  FROM billing_contract c JOIN billing_wallet w ON w.organization_id = c.organization_id
  JOIN billing_volumeplan p ON p.id = c.plan_id AND p.published_at IS NOT NULL
  WHERE w.id = p_wallet AND NOT c.is_cancelled AND c.first_month <= p_month AND (c.last_month IS NULL OR c.last_month >= p_month)
  ORDER BY c.first_month DESC LIMIT 1;
  RETURN coalesce(plan, billing_plan_of(p_wallet));
END $$;

-- Puts a published plan (NULL: the one in force) on a wallet; it counts from the next month's first call.
CREATE OR REPLACE FUNCTION billing_set_volume_plan(p_wallet bigint, p_plan bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  IF p_plan IS NOT NULL AND NOT EXISTS (SELECT 1 FROM billing_volumeplan WHERE id = p_plan AND published_at IS NOT NULL) THEN
    RAISE EXCEPTION 'no published plan %', p_plan USING ERRCODE = 'TK003';
  END IF;
  UPDATE billing_wallet SET volume_plan_id = p_plan WHERE id = p_wallet;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no wallet %', p_wallet USING ERRCODE = 'TK003';
  END IF;
END $$;
