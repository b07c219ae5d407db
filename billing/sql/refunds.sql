-- A refund is a hold first (id: the Refund's), on unused money of one paid lot; the bank then says whether it is settled or released.

-- Raises TK003 (no such lot), TK004 (the refund holds another amount or lot), TK005 (the lot or the wallet does not have it),
-- TK006 (this refund was settled before). Safe to repeat.
CREATE OR REPLACE FUNCTION billing_reserve_refund(p_refund uuid, p_lot bigint, p_amount bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  wallet bigint;
  available bigint;
  held record;
BEGIN
  SELECT wallet_id INTO wallet FROM billing_lot WHERE id = p_lot AND kind = 'paid';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no paid lot %', p_lot USING ERRCODE = 'TK003';
  END IF;
  SELECT posted_nanos - held_nanos INTO available FROM billing_wallet WHERE id = wallet FOR NO KEY UPDATE;
  SELECT lot_id, amount_nanos INTO held FROM billing_hold WHERE id = p_refund;
  IF FOUND THEN
    IF (held.lot_id, held.amount_nanos) IS DISTINCT FROM (p_lot, p_amount) THEN
      RAISE EXCEPTION 'refund % holds something else', p_refund USING ERRCODE = 'TK004';
    END IF;
    RETURN;
  END IF;
  IF EXISTS (SELECT 1 FROM billing_ledgerentry WHERE reference = 'refund:' || p_refund) THEN
    RAISE EXCEPTION 'refund % was settled', p_refund USING ERRCODE = 'TK006';
  END IF;
  IF p_amount > available OR p_amount > (SELECT remaining FROM billing_lots(wallet) WHERE lot_id = p_lot) THEN
    RAISE EXCEPTION 'lot % does not have %', p_lot, p_amount USING ERRCODE = 'TK005';
  END IF;
  INSERT INTO billing_hold (id, wallet_id, purpose, amount_nanos, lot_id, created_at)
  VALUES (p_refund, wallet, 'refund', p_amount, p_lot, clock_timestamp());
  UPDATE billing_wallet SET held_nanos = held_nanos + p_amount WHERE id = wallet;
  UPDATE billing_lot SET reserved_nanos = reserved_nanos + p_amount WHERE id = p_lot;
END $$;

-- The bank (or Stripe: p_book) returned the money: wallet → world:pix. Returns the entry; again with the same reference, the same one.
-- Raises TK006 when the refund holds nothing (it was released, or never reserved).
DROP FUNCTION IF EXISTS billing_settle_refund(uuid, text, text, text);
CREATE OR REPLACE FUNCTION billing_settle_refund(
  p_refund uuid, p_reference text, p_actor text, p_reason text, p_book text DEFAULT 'world:pix'
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  held record;
  entry bigint;
BEGIN
  PERFORM 1 FROM billing_wallet WHERE id = (SELECT wallet_id FROM billing_hold WHERE id = p_refund) FOR NO KEY UPDATE;
  DELETE FROM billing_hold WHERE id = p_refund AND purpose = 'refund' RETURNING wallet_id, lot_id, amount_nanos INTO held;
  IF NOT FOUND THEN
    SELECT id INTO entry FROM billing_ledgerentry WHERE reference = p_reference AND kind = 'refund';
    IF NOT FOUND THEN
      RAISE EXCEPTION 'refund % holds nothing', p_refund USING ERRCODE = 'TK006';
    END IF;
    RETURN entry;
  END IF;
  INSERT INTO billing_ledgerentry (kind, reference, reason, actor, created_at)
  VALUES ('refund', p_reference, coalesce(p_reason, ''), coalesce(p_actor, ''), clock_timestamp())
  ON CONFLICT DO NOTHING RETURNING id INTO entry;
  IF entry IS NULL THEN
    RAISE EXCEPTION 'reference % was booked otherwise', p_reference USING ERRCODE = 'TK004';
  END IF;
  INSERT INTO billing_posting (entry_id, wallet_id, source, destination, amount_nanos)
  VALUES (entry, held.wallet_id, 'wallet:' || held.wallet_id, p_book, held.amount_nanos);
  UPDATE billing_lot SET reserved_nanos = reserved_nanos - held.amount_nanos, withdrawn_nanos = withdrawn_nanos + held.amount_nanos
  WHERE id = held.lot_id;
  UPDATE billing_wallet SET posted_nanos = posted_nanos - held.amount_nanos, held_nanos = held_nanos - held.amount_nanos
  WHERE id = held.wallet_id;
  RETURN entry;
END $$;

-- The bank did not return it: the money is free again. False when the refund holds nothing (released before, or settled).
CREATE OR REPLACE FUNCTION billing_release_refund(p_refund uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  held record;
BEGIN
  PERFORM 1 FROM billing_wallet WHERE id = (SELECT wallet_id FROM billing_hold WHERE id = p_refund) FOR NO KEY UPDATE;
  DELETE FROM billing_hold WHERE id = p_refund AND purpose = 'refund' RETURNING wallet_id, lot_id, amount_nanos INTO held;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE billing_lot SET reserved_nanos = reserved_nanos - held.amount_nanos WHERE id = held.lot_id;
  UPDATE billing_wallet SET held_nanos = held_nanos - held.amount_nanos WHERE id = held.wallet_id;
  RETURN true;
END $$;
