"""The only floor where money moves: wallets, holds, the ledger, prices, PIX.

Nouns: Wallet, Lot, Hold, LedgerEntry, Posting, UsageRecord, PriceBook, PriceVersion, Price, PriceApproval, PriceNotice,
ProviderCost, ExchangeRate, RateAlarm, VolumePlan, VolumeTier, Contract, Charge, PixNotice, UnmatchedPix, Refund, Budget,
BudgetSpend, UsageDay, TagDay, Event, EventMail, AlertChoice, AlertState, Hook, HookDelivery, Coupon, CouponRedemption,
PromotionRules, WelcomeGrant, ReferralCode, Referral, LedgerSeal, MonthClose, Export, CardHolder, Card, CardPayment, AutoTopUp,
StripeEvent, Dispute, Difference, ReconciliationRun, ProviderReport.
Verbs: `wallets.wallet_of`, `holds.place_holds/settle/expire_holds`, `ledger.post_entry/reverse_entry`,
`pricing.price_usage/price_ceiling/price_ceiling_of` (pure), `pricebooks.publish_version/price_lists`,
`approvals.ask_approval/approve/refuse`, `rate_watch.watch_rate`, `pricelists.public_prices`,
`contracts.agree_contract/end_contract`, `discounts.standing/closed_months` (reads),
`refunds.refund_lot/top_ups_of/sweep_refunds` (over `refund_books.open_refund/finish_refund`),
`promotions.give_grant/grant_welcomes`, `codes.use_code` (coupons, referral codes), `referrals.reward_referrals`,
`costs.import_costs/declare_costs`, `pix.charges.open_charge/confirm_charge`, `statements.*` (reads), `reconcile.find_violations`,
`events.tell/list_events/dismiss`, `alerts.watch`, `alert_choices.change_choice/readers_of`, `event_mails.send_due`,
`hooks.create_hook/change_hook/rotate_secret/send_test/replay`, `hook_deliveries.deliver_due`,
`budgets.set_budget/change_budget/stop_budget/states_of/covers_of`, `windows.covering` (pure), `limits.effective_limits`.
Money is an integer number of nano-reais; only the SQL functions of `sql/` write a wallet. Called by gateway, invoices and
the roof; knows accounts, and nothing above.
"""
