"""Cards, by Stripe: we open a payment, Stripe collects it, Stripe tells, we ask and credit.

`payments` is the parent (open_checkout, pay_with_card, charge_automatically, confirm_payment), `automatic` tops a wallet up when
it is low, `holders` keeps saved cards, `refunds` sends money back, `disputes` follows what cardholders contest, `events` keeps and
follows what Stripe tells, `sweep` finds what nobody told, `declines` says a refusal in Portuguese, `stripe_client` speaks to Stripe
by its official package, `webhook` is Stripe's door.

Words of Stripe's: intent (pi_…, one payment), session (cs_…, a page on which people pay or save a card), event (evt_…, a rumour).
"""
