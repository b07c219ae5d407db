"""Coupons: redeemed once per organization while they last, refused in words, not to be guessed."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import Client
from pytest_django import Settings

from accounts.models import Organization, User
from billing.codes import TooManyGuesses, use_code
from billing.coupons import CodeRefused, create_coupon, redeem_coupon, switch_coupon
from billing.models import CodeGuess, Coupon, CouponRedemption, Event, LedgerEntry, Lot
from billing.money import BRL
from billing.promotions import end_of_day
from billing.wallets import wallet_of
from tests.cast import Cast, make_cast
from tests.make import make_organization, make_top_up, make_user
from tokia import clock


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def real_clock() -> Iterator[None]:
    yield
    clock.shift(0)


def make_coupon(code: str = "BEMVINDO", **fields: object) -> Coupon:
    given = {"amount_nanos": 20 * BRL, "reason": "Feira", "by": "ana", **fields}
    return create_coupon(code=code, **given)  # type: ignore[arg-type]


def as_(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def refusal(organization: Organization, user: User, code: str = "BEMVINDO") -> str:
    with pytest.raises(CodeRefused) as refused:
        use_code(organization, code=code, user=user)
    return refused.value.code


def test_it_gives_the_grant_with_its_end_and_says_so(cast: Cast) -> None:
    coupon = make_coupon(spend_within_days=30)
    answer = as_(cast.carol).post("/app/cupom/", {"codigo": " bem vindo "}, follow=True)
    last_on = clock.today_in_brazil() + dt.timedelta(days=30)
    page = answer.content.decode()
    assert f"Cupom BEMVINDO resgatado: R$\u00a020,00 no seu saldo. Vale até {last_on:%d/%m/%Y}." in page
    redemption = CouponRedemption.everywhere.get()
    assert (redemption.organization, redemption.redeemed_by) == (cast.acme, "carol@acme.com.br")
    lot = Lot.everywhere.get(entry=redemption.entry)
    assert (lot.kind, lot.amount_nanos, lot.expires_at) == (Lot.Kind.PROMO, 20 * BRL, end_of_day(last_on))
    coupon.refresh_from_db()
    assert coupon.redeemed == 1 and Event.everywhere.filter(type="credit.granted", organization=cast.acme).count() == 1
    assert wallet_of(cast.acme).promo_nanos == 20 * BRL


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"valid_until": dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC)}, "expirou: valia até 01/01/2026"),
        ({"redemptions_max": 0}, "esgotou"),
        ({"is_for_new_only": True}, "só para novas empresas"),
        ({"code": "OUTRO"}, "não existe"),
    ],
    ids=["expired", "gone", "new only", "unknown"],
)
def test_it_refuses_in_words(fields: dict[str, object], words: str, cast: Cast) -> None:
    make_top_up(wallet=wallet_of(cast.acme))
    make_coupon(**{"code": "BEMVINDO", **fields})  # type: ignore[arg-type]
    answer = as_(cast.alice).post("/app/cupom/", {"codigo": "BEMVINDO"})
    assert answer.status_code == 409 and words in answer.content.decode()
    assert not CouponRedemption.everywhere.exists() and wallet_of(cast.acme).promo_nanos == 0


def test_an_organization_uses_it_once(cast: Cast) -> None:
    coupon = make_coupon()
    use_code(cast.acme, code="BEMVINDO", user=cast.alice)
    assert refusal(cast.acme, cast.carol) == "coupon_used"
    switch_coupon(coupon, is_active=False)
    assert refusal(cast.acme, cast.alice) == "coupon_used"  # it knows that one
    assert refusal(cast.globex, cast.charlie) == "code_unknown"  # switched off: there is no such code
    assert LedgerEntry.objects.filter(kind=LedgerEntry.Kind.GRANT).count() == 1


def test_new_is_who_never_topped_up_with_this_tax_id(cast: Cast) -> None:
    make_coupon(is_for_new_only=True)
    branch = make_organization(tax_id=cast.acme.tax_id)
    make_top_up(wallet=wallet_of(branch))
    assert refusal(cast.acme, cast.alice) == "coupon_for_new_only"
    use_code(cast.globex, code="BEMVINDO", user=cast.charlie)


def test_a_suspended_organization_redeems_nothing(cast: Cast) -> None:
    make_coupon()
    Organization.objects.filter(pk=cast.acme.pk).update(is_suspended=True)
    assert refusal(cast.acme, cast.alice) == "organization_suspended"


def test_guesses_are_counted_by_person_and_organization_without_valkey(cast: Cast, settings: Settings, real_clock: None) -> None:
    settings.CODE_GUESSES_MAX = 3
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    make_coupon()
    for guess in range(3):
        assert refusal(cast.acme, cast.alice, f"CHUTE{guess}") == "code_unknown"
    assert refusal(cast.acme, cast.alice) == "too_many_guesses"  # a right one is not told either
    assert refusal(cast.acme, cast.bob, "BEMVINDO") == "too_many_guesses"
    own = make_organization(tax_id="12ABC34501DE35")
    with pytest.raises(TooManyGuesses):
        use_code(own, code="BEMVINDO", user=cast.alice)
    answer = as_(cast.carol).post("/app/cupom/", {"codigo": "BEMVINDO"})
    assert answer.status_code == 429 and "Tente de novo em uma hora" in answer.content.decode()
    use_code(cast.globex, code="BEMVINDO", user=cast.charlie)
    clock.shift(3_601)
    use_code(cast.acme, code="BEMVINDO", user=cast.alice)


def test_developers_redeem_nothing(cast: Cast) -> None:
    make_coupon()
    assert as_(cast.bob).post("/app/cupom/", {"codigo": "BEMVINDO"}).status_code == 403
    assert not CouponRedemption.everywhere.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("code", ["A", "com_sublinhado", "-ABC", "Ç" * 5, "A" * 31])
def test_a_code_is_made_of_capitals_and_digits(code: str) -> None:
    with pytest.raises(CodeRefused):
        make_coupon(code)


@pytest.mark.django_db
def test_a_code_is_made_once_and_where_none_is_given_a_hard_one() -> None:
    assert make_coupon("natal-2026").code == "NATAL-2026"
    with pytest.raises(CodeRefused, match="já existe"):
        make_coupon("NATAL-2026")
    assert len(make_coupon("").code) == 10


# ── At once ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_of_twenty_who_want_the_last_one_gets_it(committed_db: None) -> None:
    coupon = make_coupon(redemptions_max=3)
    for _ in range(2):
        redeem_coupon(coupon, organization=make_organization(), by="x")
    organizations = [make_organization() for _ in range(20)]
    barrier = threading.Barrier(20)

    def redeem(organization: Organization) -> str:
        user = User.objects.get(email=f"p{organization.pk}@example.com.br")
        barrier.wait()
        try:
            use_code(organization, code="BEMVINDO", user=user)
            return "ok"
        except CodeRefused as refused:
            return refused.code
        finally:
            connections.close_all()

    for organization in organizations:
        make_user(email=f"p{organization.pk}@example.com.br")
    with ThreadPoolExecutor(20) as pool:
        answers = sorted(pool.map(redeem, organizations))
    assert answers == ["coupon_gone"] * 19 + ["ok"]
    coupon.refresh_from_db()
    assert coupon.redeemed == 3 == CouponRedemption.everywhere.count()
    assert LedgerEntry.objects.filter(kind=LedgerEntry.Kind.GRANT).count() == 3


def test_an_organization_that_clicks_twenty_times_gets_one(committed_db: None) -> None:
    make_coupon()
    organization, user = make_organization(), make_user()
    barrier = threading.Barrier(20)

    def redeem(_: int) -> str:
        barrier.wait()
        try:
            use_code(organization, code="BEMVINDO", user=user)
            return "ok"
        except CodeRefused as refused:
            return refused.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        answers = sorted(pool.map(redeem, range(20)))
    assert answers == ["coupon_used"] * 19 + ["ok"]
    assert wallet_of(organization).promo_nanos == 20 * BRL and not CodeGuess.everywhere.exists()
