"""Promotions in the admin: rows to look at, acts that ask a reason and leave a history line."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import User
from billing import referrals
from billing.codes import use_code
from billing.coupons import create_coupon
from billing.models import Coupon, CouponRedemption, Event, PromotionRules, Referral, ReferralCode, WelcomeGrant
from billing.money import BRL
from billing.promotions import change_rules, give_welcome, rules
from tests.cast import Cast, make_cast
from tests.make import make_wallet

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ana@tokia.test", "a long enough password"))
    return client


@pytest.fixture
def cast(db: None) -> Cast:
    """A row of everything."""
    cast = make_cast()
    change_rules(by="ana", referral_is_on=True, welcome_is_on=True)
    create_coupon(code="FEIRA", amount_nanos=5 * BRL, reason="Feira", by="ana")
    use_code(cast.acme, code="FEIRA", user=cast.alice)
    use_code(cast.globex, code=referrals.code_of(cast.acme).code, user=cast.charlie)
    give_welcome(cast.acme, rules())
    return cast


@pytest.mark.parametrize(
    "model", [Coupon, CouponRedemption, PromotionRules, Referral, ReferralCode, WelcomeGrant], ids=lambda model: model.__name__
)
def test_rows_are_looked_at_and_not_edited(model: type, staff: Client, cast: Cast) -> None:
    name = f"admin:billing_{model.__name__.lower()}"
    row = model._meta.base_manager.get()  # type: ignore[attr-defined]
    assert staff.get(reverse(f"{name}_changelist"), {"q": "x"} if model is not PromotionRules else {}).status_code == 200
    assert staff.get(reverse(f"{name}_change", args=[row.pk])).status_code == 200
    assert staff.post(reverse(f"{name}_change", args=[row.pk]), {"code": "OUTRO"}).status_code == 403
    assert staff.get(reverse(f"{name}_add")).status_code == 403
    assert staff.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403


def test_a_coupon_is_made_with_a_reason(staff: Client) -> None:
    address, form = reverse("admin:billing_coupon_create"), {"code": "natal", "amount": "12,50", "spend_within_days": "30"}
    assert staff.post(address, form).status_code == 200 and not Coupon.objects.exists()  # asked again
    form |= {"reason": "Campanha de Natal", "valid_until": "2026-12-25", "redemptions_max": "100", "is_for_new_only": "on"}
    assert staff.post(address, form).status_code == 302
    coupon = Coupon.objects.get()
    assert (coupon.code, coupon.amount_nanos, coupon.created_by) == ("NATAL", 12_500_000_000, "ana@tokia.test")
    assert coupon.valid_until is not None and coupon.valid_until.isoformat() == "2026-12-26T03:00:00+00:00"
    assert (coupon.redemptions_max, coupon.is_for_new_only, coupon.spend_within_days) == (100, True, 30)
    assert "Campanha de Natal" in LogEntry.objects.latest("pk").change_message
    assert "já existe" in staff.post(address, form).content.decode()


def test_a_coupon_is_switched_off_and_on_with_a_reason(staff: Client, cast: Cast) -> None:
    coupon = Coupon.objects.get()
    for verb, is_active in (("switch_off", False), ("switch_on", True)):
        address = reverse(f"admin:billing_coupon_{verb}", args=[coupon.pk])
        assert staff.post(address, {"reason": ""}).status_code == 200
        assert staff.post(address, {"reason": "Vazou na internet"}).status_code == 302
        coupon.refresh_from_db()
        assert coupon.is_active is is_active
    assert "Vazou" in LogEntry.objects.latest("pk").change_message


def test_rules_are_changed_with_a_reason_and_a_history(staff: Client) -> None:
    address = reverse("admin:billing_promotionrules_change_them")
    assert 'value="25,00"' in staff.get(address).content.decode()
    form = {
        "welcome_is_on": "on", "welcome_nanos": "15,00", "welcome_days": "30", "referral_nanos": "25,00", "referral_days": "60",
        "referral_top_up_min_nanos": "abc", "referral_wait_days": "7", "referral_monthly_max": "10", "reason": "Lançamento",
    }  # fmt: skip
    assert staff.post(address, form).status_code == 200 and not rules().welcome_is_on
    assert staff.post(address, form | {"referral_top_up_min_nanos": "100,00"}).status_code == 302
    current = rules()
    assert (current.welcome_is_on, current.welcome_nanos, current.referral_top_up_min_nanos) == (True, 15 * BRL, 100 * BRL)
    assert current.welcome_since is not None and current.changed_by == "ana@tokia.test"
    told = LogEntry.objects.latest("pk").change_message
    assert "bônus de boas-vindas: não → sim" in told and "R$\u00a010,00 → R$\u00a015,00" in told and "Lançamento" in told


def test_a_referral_is_refused_once(staff: Client, cast: Cast) -> None:
    referral = Referral.everywhere.get()
    address = reverse("admin:billing_referral_refuse", args=[referral.pk])
    assert staff.post(address, {"reason": "Mesmo dono, outro CPF"}).status_code == 302
    referral.refresh_from_db()
    assert (referral.status, referral.reason) == (Referral.Status.REFUSED, "Mesmo dono, outro CPF")
    assert "já foi decidida" in staff.post(address, {"reason": "de novo"}).content.decode()


def test_a_bonus_by_a_person_is_told(staff: Client) -> None:
    wallet = make_wallet(brl="0")
    form = {"amount": "7,00", "expires_on": "2026-12-31", "reason": "Pedido de desculpas"}
    assert staff.post(reverse("admin:billing_wallet_grant", args=[wallet.pk]), form).status_code == 302
    event = Event.everywhere.get(type="credit.granted")
    assert event.payload == {"amount": "7.00", "expires_at": "2027-01-01T03:00:00+00:00", "reason": "Pedido de desculpas"}


def test_staff_without_the_permission_act_on_nothing(staff: Client, cast: Cast) -> None:
    viewer = User.objects.create_user("leo@tokia.test", "a long enough password", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client()
    client.force_login(viewer)
    for name, arguments in (
        ("coupon_create", []),
        ("promotionrules_change_them", []),
        ("coupon_switch_off", [Coupon.objects.get().pk]),
    ):
        assert client.post(reverse(f"admin:billing_{name}", args=arguments), {"reason": "posso?"}).status_code == 403, name
