-- Money that comes into a wallet or leaves it other than by usage. The bookkeeping is written down in billing/ledger.py.

CREATE OR REPLACE FUNCTION billing_open_wallet(p_organization bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  wallet bigint;
BEGIN
  INSERT INTO billing_wallet (organization_id, posted_nanos, held_nanos, promo_nanos, overdraft_nanos, paid_used_nanos,
                              promo_used_nanos, created_at)
  VALUES (p_organization, 0, 0, 0, 0, 0, 0, clock_timestamp())
  ON CONFLICT (organization_id) DO NOTHING;
  SELECT id INTO wallet FROM billing_wallet WHERE organization_id = p_organization;
  RETURN wallet;
END $$;

-- Posts p_amount nanos from p_book into the wallet (> 0, as a lot of p_lot_kind) or out of it (< 0). The same reference with the
-- same kind, wallet and amount is the same entry, booked once; with others it raises TK004. TK003: no such wallet. TK005: the
-- wallet does not have what should leave. TK007: the entry to reverse is not there, or was reversed.
-- A 'dispute' takes back part of the top-up p_reverses, any number of times; one that was lost comes back as a positive entry.
CREATE OR REPLACE FUNCTION billing_post_entry(
  p_kind text, p_reference text, p_wallet bigint, p_amount bigint, p_book text, p_lot_kind text, p_expires timestamptz,
  p_reason text, p_actor text, p_reverses bigint
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  entry bigint;
BEGIN
  PERFORM 1 FROM billing_wallet WHERE id = p_wallet FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no wallet %', p_wallet USING ERRCODE = 'TK003';
  END IF;
  IF p_amount IS NULL OR p_amount = 0 OR p_kind NOT IN ('top_up', 'grant', 'correction', 'reversal', 'dispute') OR p_reference = '' THEN
    RAISE EXCEPTION 'an entry needs an amount, a reference and a kind that people post' USING ERRCODE = '22023';
  END IF;
  IF EXISTS (SELECT 1 FROM billing_ledgerentry WHERE reference = p_reference) THEN
    RETURN billing_same_entry(p_kind, p_reference, p_wallet, p_amount, p_book);
  END IF;
  IF p_reverses IS NOT NULL AND (
    NOT EXISTS (SELECT 1 FROM billing_posting WHERE entry_id = p_reverses AND wallet_id = p_wallet)
    OR p_kind <> 'dispute' AND EXISTS (SELECT 1 FROM billing_ledgerentry WHERE reverses_id = p_reverses)
  ) THEN
    RAISE EXCEPTION 'entry % is not there, or was reversed', p_reverses USING ERRCODE = 'TK007';
  END IF;
  INSERT INTO billing_ledgerentry (kind, reference, reverses_id, reason, actor, created_at)
  VALUES (p_kind, p_reference, CASE WHEN p_kind <> 'dispute' THEN p_reverses END, coalesce(p_reason, ''), coalesce(p_actor, ''), clock_timestamp())
  ON CONFLICT DO NOTHING RETURNING id INTO entry;
  IF entry IS NULL THEN  -- committed this instant, for another wallet: the lock was no help
    RETURN billing_same_entry(p_kind, p_reference, p_wallet, p_amount, p_book);
  END IF;
  IF p_amount > 0 THEN
    PERFORM billing_bring_in(entry, p_wallet, p_amount, p_book, coalesce(p_lot_kind, 'paid'), p_expires);
  ELSE
    PERFORM billing_take_out(entry, p_wallet, -p_amount, p_book, p_lot_kind, p_reverses);
  END IF;
  RETURN entry;
END $$;

CREATE OR REPLACE FUNCTION billing_same_entry(p_kind text, p_reference text, p_wallet bigint, p_amount bigint, p_book text)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  entry bigint;
  amount bigint;
BEGIN
  SELECT e.id, sum(CASE WHEN p.source = p_book THEN p.amount_nanos ELSE -p.amount_nanos END) INTO entry, amount
  FROM billing_ledgerentry e
  JOIN billing_posting p ON p.entry_id = e.id AND p.wallet_id = p_wallet AND p_book IN (p.source, p.destination)
  WHERE e.reference = p_reference AND e.kind = p_kind
  GROUP BY e.id;
  IF amount IS DISTINCT FROM p_amount THEN
    RAISE EXCEPTION 'reference % was booked otherwise', p_reference USING ERRCODE = 'TK004';
  END IF;
  RETURN entry;
END $$;

-- Books p_amount into the wallet whose row is locked; what it owes is paid at once.
CREATE OR REPLACE FUNCTION billing_bring_in(
  p_entry bigint, p_wallet bigint, p_amount bigint, p_book text, p_lot_kind text, p_expires timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  owed bigint;
  expires timestamptz := p_expires;
BEGIN
  SELECT least(overdraft_nanos, p_amount) INTO owed FROM billing_wallet WHERE id = p_wallet;
  IF p_lot_kind = 'promo' AND expires IS NOT NULL THEN  -- lots are used in id order: a younger one never expires before an older one
    SELECT CASE WHEN coalesce(bool_or(l.expires_at IS NULL), false) THEN NULL ELSE greatest(expires, max(l.expires_at)) END INTO expires
    FROM billing_lot l JOIN billing_lots(p_wallet) r ON r.lot_id = l.id WHERE l.kind = 'promo' AND r.remaining > 0;
  END IF;
  INSERT INTO billing_lot (wallet_id, entry_id, kind, amount_nanos, withdrawn_nanos, reserved_nanos, expires_at, created_at)
  VALUES (p_wallet, p_entry, p_lot_kind, p_amount, 0, 0, CASE WHEN p_lot_kind = 'promo' THEN expires END, clock_timestamp());
  INSERT INTO billing_posting (entry_id, wallet_id, source, destination, amount_nanos)
  SELECT p_entry, p_wallet, p.source, p.destination, p.amount
  FROM (VALUES (p_book, 'wallet:' || p_wallet, p_amount), ('wallet:' || p_wallet, 'overdraft:' || p_wallet, owed))
       AS p (source, destination, amount)
  WHERE p.amount > 0;
  UPDATE billing_wallet
  SET posted_nanos = posted_nanos + p_amount - owed,
      overdraft_nanos = overdraft_nanos - owed,
      promo_nanos = promo_nanos + CASE WHEN p_lot_kind = 'promo' THEN p_amount - owed ELSE 0 END,
      promo_used_nanos = promo_used_nanos + CASE WHEN p_lot_kind = 'promo' THEN owed ELSE 0 END,
      paid_used_nanos = paid_used_nanos + CASE WHEN p_lot_kind = 'promo' THEN 0 ELSE owed END
  WHERE id = p_wallet;
END $$;

-- Books p_amount out of the wallet whose row is locked. With a kind, from lots of that kind only; without, promotional money first.
-- A reversal takes what is left of the lot it undoes, then other money, first of the same kind. Only where the bank took a
-- top-up back may it leave an overdraft; everything else needs the money there (TK005).
CREATE OR REPLACE FUNCTION billing_take_out(
  p_entry bigint, p_wallet bigint, p_amount bigint, p_book text, p_lot_kind text, p_reverses bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  w record;
  lot record;
  is_top_up boolean := EXISTS (SELECT 1 FROM billing_ledgerentry WHERE id = p_reverses AND kind = 'top_up');
  pay bigint;
  from_lot bigint := 0;
  from_promo bigint;  -- by the counters, like consumption; so from_paid
  from_paid bigint;
  all_promo bigint;
BEGIN
  SELECT posted_nanos - held_nanos AS available, promo_nanos AS promo,
         posted_nanos - promo_nanos - (SELECT coalesce(sum(reserved_nanos), 0) FROM billing_lot WHERE wallet_id = p_wallet) AS paid
  INTO w FROM billing_wallet WHERE id = p_wallet;
  pay := least(p_amount, w.available);
  SELECT l.id, l.kind, r.remaining INTO lot
  FROM billing_lot l JOIN billing_lots(p_wallet) r ON r.lot_id = l.id WHERE l.entry_id = p_reverses;
  IF lot.id IS NOT NULL THEN
    from_lot := least(pay, lot.remaining);
    UPDATE billing_lot SET withdrawn_nanos = withdrawn_nanos + from_lot WHERE id = lot.id;
  END IF;
  from_promo := CASE
    WHEN lot.kind = 'paid' THEN pay - from_lot - least(pay - from_lot, w.paid - from_lot)
    WHEN lot.kind = 'promo' THEN least(pay - from_lot, w.promo - from_lot)
    WHEN p_lot_kind = 'paid' THEN 0
    WHEN p_lot_kind = 'promo' THEN pay
    ELSE least(pay, w.promo)
  END;
  from_paid := pay - from_lot - from_promo;
  all_promo := from_promo + CASE WHEN lot.kind = 'promo' THEN from_lot ELSE 0 END;
  IF (pay < p_amount AND NOT is_top_up) OR all_promo > w.promo OR pay - all_promo > w.paid THEN
    RAISE EXCEPTION 'wallet % does not have %', p_wallet, p_amount USING ERRCODE = 'TK005';
  END IF;
  INSERT INTO billing_posting (entry_id, wallet_id, source, destination, amount_nanos)
  SELECT p_entry, p_wallet, p.source, p_book, p.amount
  FROM (VALUES ('wallet:' || p_wallet, pay), ('overdraft:' || p_wallet, p_amount - pay)) AS p (source, amount)
  WHERE p.amount > 0;
  UPDATE billing_wallet
  SET posted_nanos = posted_nanos - pay,
      overdraft_nanos = overdraft_nanos + p_amount - pay,
      promo_nanos = promo_nanos - all_promo,
      promo_used_nanos = promo_used_nanos + from_promo,
      paid_used_nanos = paid_used_nanos + from_paid
  WHERE id = p_wallet;
END $$;

-- What is left of each lot of a wallet: lots of a kind are consumed in id order by the wallet's counter of that kind.
CREATE OR REPLACE FUNCTION billing_lots(p_wallet bigint) RETURNS TABLE (lot_id bigint, remaining bigint)
LANGUAGE sql STABLE AS $$
  SELECT s.id, s.size - greatest(0, least(s.size, s.used - s.before))
  FROM (
    SELECT l.id, l.amount_nanos - l.withdrawn_nanos - l.reserved_nanos AS size,
           CASE l.kind WHEN 'promo' THEN w.promo_used_nanos ELSE w.paid_used_nanos END AS used,
           coalesce(sum(l.amount_nanos - l.withdrawn_nanos - l.reserved_nanos) OVER (
             PARTITION BY l.kind ORDER BY l.id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::bigint AS before
    FROM billing_lot l JOIN billing_wallet w ON w.id = l.wallet_id
    WHERE l.wallet_id = p_wallet
  ) s
$$;

-- Takes back what is left of promotional lots whose time is over, as far as no call holds it (the rest at a later run).
-- Returns how many lots gave something.
CREATE OR REPLACE FUNCTION billing_expire_promo() RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  due record;
  amount bigint;
  entry bigint;
  expired int := 0;
BEGIN
  PERFORM 1 FROM billing_wallet
  WHERE promo_nanos > 0 AND id IN (SELECT wallet_id FROM billing_lot WHERE kind = 'promo' AND expires_at <= clock_timestamp())
  ORDER BY id FOR NO KEY UPDATE;
  FOR due IN
    SELECT l.id, l.wallet_id, l.withdrawn_nanos FROM billing_lot l JOIN billing_wallet w ON w.id = l.wallet_id
    WHERE w.promo_nanos > 0 AND l.kind = 'promo' AND l.expires_at <= clock_timestamp()
    ORDER BY l.id
  LOOP
    SELECT least(r.remaining, w.posted_nanos - w.held_nanos) INTO amount
    FROM billing_lots(due.wallet_id) r JOIN billing_wallet w ON w.id = due.wallet_id WHERE r.lot_id = due.id;
    CONTINUE WHEN amount <= 0;
    INSERT INTO billing_ledgerentry (kind, reference, reason, actor, created_at)
    VALUES ('expiry', 'expiry:' || due.id || ':' || due.withdrawn_nanos, '', 'billing', clock_timestamp()) RETURNING id INTO entry;
    INSERT INTO billing_posting (entry_id, wallet_id, source, destination, amount_nanos)
    VALUES (entry, due.wallet_id, 'wallet:' || due.wallet_id, 'promo:expired', amount);
    UPDATE billing_lot SET withdrawn_nanos = withdrawn_nanos + amount WHERE id = due.id;
    UPDATE billing_wallet SET posted_nanos = posted_nanos - amount, promo_nanos = promo_nanos - amount WHERE id = due.wallet_id;
    expired := expired + 1;
  END LOOP;
  RETURN expired;
END $$;
