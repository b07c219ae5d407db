-- What nobody may change, the owner of the database included, says a trigger.

CREATE OR REPLACE FUNCTION billing_deny() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only: correct it with another entry', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

-- A draft may change; a published edition is frozen. Publishing is the last change of a draft.
CREATE OR REPLACE FUNCTION billing_keep_published_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.status = 'published' THEN
    RAISE EXCEPTION 'price version % is published: draft another one', OLD.id USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;

CREATE OR REPLACE FUNCTION billing_keep_published_price() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  version record;
BEGIN
  FOR version IN  -- FOR SHARE: nobody publishes the draft while one of its lines is being written
    SELECT id, status FROM billing_priceversion
    WHERE id = CASE WHEN TG_OP = 'DELETE' THEN OLD.version_id ELSE NEW.version_id END
       OR id = CASE WHEN TG_OP = 'UPDATE' THEN OLD.version_id END
    FOR SHARE
  LOOP
    IF version.status = 'published' THEN
      RAISE EXCEPTION 'price version % is published: draft another one', version.id USING ERRCODE = 'restrict_violation';
    END IF;
  END LOOP;
  RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;

CREATE OR REPLACE FUNCTION billing_keep_published_plan() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.published_at IS NULL THEN
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
  END IF;
  IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - 'is_default' = to_jsonb(OLD) - 'is_default' THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'volume plan % is published: make another one', OLD.id USING ERRCODE = 'restrict_violation';
END $$;

CREATE OR REPLACE FUNCTION billing_keep_published_tier() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  plan record;
BEGIN
  FOR plan IN
    SELECT id, published_at FROM billing_volumeplan
    WHERE id = CASE WHEN TG_OP = 'DELETE' THEN OLD.plan_id ELSE NEW.plan_id END
       OR id = CASE WHEN TG_OP = 'UPDATE' THEN OLD.plan_id END
    FOR SHARE
  LOOP
    IF plan.published_at IS NOT NULL THEN
      RAISE EXCEPTION 'volume plan % is published: make another one', plan.id USING ERRCODE = 'restrict_violation';
    END IF;
  END LOOP;
  RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['billing_ledgerentry', 'billing_posting', 'billing_usagerecord', 'billing_settledbatch', 'billing_expiredhold']
  LOOP
    EXECUTE format('CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION billing_deny()', name);
    EXECUTE format('CREATE OR REPLACE TRIGGER no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION billing_deny()', name);
  END LOOP;
END $$;

CREATE OR REPLACE TRIGGER frozen BEFORE UPDATE OR DELETE ON billing_priceversion
  FOR EACH ROW EXECUTE FUNCTION billing_keep_published_version();
CREATE OR REPLACE TRIGGER frozen BEFORE INSERT OR UPDATE OR DELETE ON billing_price
  FOR EACH ROW EXECUTE FUNCTION billing_keep_published_price();
CREATE OR REPLACE TRIGGER frozen BEFORE UPDATE OR DELETE ON billing_volumeplan
  FOR EACH ROW EXECUTE FUNCTION billing_keep_published_plan();
CREATE OR REPLACE TRIGGER frozen BEFORE INSERT OR UPDATE OR DELETE ON billing_volumetier
  FOR EACH ROW EXECUTE FUNCTION billing_keep_published_tier();

-- Gateways keep the prices in memory: they hear of every change in its own commit. A line changes only in drafts.
CREATE OR REPLACE TRIGGER snapshot AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON billing_pricebook
  FOR EACH STATEMENT EXECUTE FUNCTION bump_snapshot('catalog');
CREATE OR REPLACE TRIGGER snapshot AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON billing_priceversion
  FOR EACH STATEMENT EXECUTE FUNCTION bump_snapshot('catalog');
