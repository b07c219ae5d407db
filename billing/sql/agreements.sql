-- What people agreed on: contracts of volume, and prices that a second administrator approved. None of it is rewritten.

-- Locks a wallet for the rest of the transaction, as settlements do: while it lasts no month of it is opened.
CREATE OR REPLACE FUNCTION billing_lock_wallet(p_wallet bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM 1 FROM billing_wallet WHERE id = p_wallet FOR NO KEY UPDATE;
  RETURN FOUND;
END $$;

-- A contract may end, or be cancelled before it began; what was agreed stays as it was written.
CREATE OR REPLACE FUNCTION billing_keep_contract() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  end_of_it text[] := ARRAY['last_month', 'ended_by', 'ended_at', 'end_reason', 'is_cancelled'];
BEGIN
  IF TG_OP = 'DELETE' OR OLD.is_cancelled OR to_jsonb(NEW) - end_of_it <> to_jsonb(OLD) - end_of_it THEN
    RAISE EXCEPTION 'contract % is agreed: end it and agree on another one', OLD.id USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;

-- A decision is made once, and stays.
CREATE OR REPLACE FUNCTION billing_keep_decision() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  decision text[] := ARRAY['status', 'decided_by_id', 'decided_at', 'decision_reason'];
BEGIN
  IF TG_OP = 'DELETE' OR OLD.status <> 'asked' OR to_jsonb(NEW) - decision <> to_jsonb(OLD) - decision THEN
    RAISE EXCEPTION 'approval % was asked or decided as it stands: ask for another one', OLD.id USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER frozen BEFORE UPDATE OR DELETE ON billing_contract
  FOR EACH ROW EXECUTE FUNCTION billing_keep_contract();
CREATE OR REPLACE TRIGGER frozen BEFORE UPDATE OR DELETE ON billing_priceapproval
  FOR EACH ROW EXECUTE FUNCTION billing_keep_decision();
