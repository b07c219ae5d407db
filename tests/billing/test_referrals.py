"""One organization brings another: both get their grant once, when the other one's first top-up of the minimum stands."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import Client

from accounts.models import Membership, Organization, Role, User
from billing import ledger, referrals
from billing.codes import use_code
from billing.coupons import CodeRefused
from billing.models import Event, LedgerEntry, Lot, Referral, ReferralCode
from billing.money import BRL
from billing.promotions import change_rules, rules
from billing.referral_link import COOKIE
from billing.wallets import wallet_of
from tests.cast import PASSWORD, Cast, make_cast
from tests.make import make_organization, make_top_up
from tokia import clock


@pytest.fixture
def cast(db: None) -> Cast:
    switch_on()
    return make_cast()


@pytest.fixture
def real_clock() -> Iterator[None]:
    yield
    clock.shift(0)


def switch_on(**changes: object) -> None:
    given = {"referral_is_on": True, "referral_nanos": 25 * BRL, "referral_top_up_min_nanos": 50 * BRL, **changes}
    change_rules(by="ana", **given)


def refer(referrer: Organization, referred: Organization) -> Referral:
    return referrals.note_referral(referred, code=referrals.code_of(referrer).code)


def promo_of(organization: Organization) -> int:
    return wallet_of(organization).promo_nanos


def refusal(referred: Organization, code: str) -> str:
    with pytest.raises(CodeRefused) as refused:
        referrals.note_referral(referred, code=code)
    return refused.value.code


def test_both_get_theirs_when_the_first_large_enough_top_up_is_paid(cast: Cast) -> None:
    referral = refer(cast.acme, cast.globex)
    assert referrals.reward_referrals() == 0
    make_top_up(wallet=wallet_of(cast.globex), brl="49.99")
    assert referrals.reward_referrals() == 0
    make_top_up(wallet=wallet_of(cast.globex), brl="50.00")
    assert referrals.reward_referrals() == 1
    assert referrals.reward_referrals() == 0  # once
    assert (promo_of(cast.acme), promo_of(cast.globex)) == (25 * BRL, 25 * BRL)
    referral.refresh_from_db()
    assert referral.status == Referral.Status.REWARDED and referral.decided_at is not None
    assert Event.everywhere.filter(type="credit.granted").count() == 2
    make_top_up(wallet=wallet_of(cast.globex), brl="500.00")
    assert referrals.reward_referrals() == 0 and not referrals.reward(referral, rules())
    assert promo_of(cast.acme) == 25 * BRL


def test_its_refusals_have_words(cast: Cast) -> None:
    mine = referrals.code_of(cast.acme).code
    assert refusal(cast.acme, mine) == "referral_own"
    assert refusal(cast.globex, "NAOEXISTE") == "code_unknown"
    branch = make_organization(tax_id=cast.acme.tax_id)
    assert refusal(branch, mine) == "referral_same"
    second = make_organization(tax_id="11444777000161")
    Membership.everywhere.create(organization=second, user=cast.bob, role=Role.OWNER)
    assert refusal(second, mine) == "referral_same"
    refer(cast.acme, cast.globex)
    third = make_organization(tax_id="11444777000161")
    assert refusal(cast.globex, referrals.code_of(third).code) == "referral_known"
    make_top_up(wallet=wallet_of(third))
    assert refusal(third, mine) == "referral_late"
    switch_on(referral_is_on=False)
    assert refusal(make_organization(), mine) == "referral_off"
    assert referrals.reward_referrals() == 0


def test_what_became_the_same_people_later_pays_nothing(cast: Cast) -> None:
    referral = refer(cast.acme, cast.globex)
    Membership.everywhere.create(organization=cast.globex, user=cast.alice, role=Role.ADMIN)
    make_top_up(wallet=wallet_of(cast.globex))
    assert referrals.reward_referrals() == 0
    referral.refresh_from_db()
    assert referral.status == Referral.Status.REFUSED and "mesma pessoa" in referral.reason
    assert promo_of(cast.acme) == promo_of(cast.globex) == 0


def test_a_tax_id_is_brought_once(cast: Cast) -> None:
    twin = make_organization(tax_id=cast.globex.tax_id)
    for organization in (cast.globex, twin):
        refer(cast.acme, organization)
        make_top_up(wallet=wallet_of(organization))
    assert referrals.reward_referrals() == 1
    assert (promo_of(cast.acme), promo_of(twin)) == (25 * BRL, 0)
    assert Referral.everywhere.get(referred=twin).reason == referrals.SECOND_OF_TAX_ID


def test_it_waits_for_the_tax_id(cast: Cast) -> None:
    Organization.objects.filter(pk=cast.globex.pk).update(tax_id="")
    refer(cast.acme, Organization.objects.get(pk=cast.globex.pk))
    make_top_up(wallet=wallet_of(cast.globex))
    assert referrals.reward_referrals() == 0
    Organization.objects.filter(pk=cast.globex.pk).update(tax_id="12ABC34501DE35")
    assert referrals.reward_referrals() == 1


def test_a_top_up_that_went_back_pays_nothing(cast: Cast) -> None:
    refer(cast.acme, cast.globex)
    entry = make_top_up(wallet=wallet_of(cast.globex))
    ledger.post_entry(
        kind=LedgerEntry.Kind.DISPUTE, reference="med:x", wallet=wallet_of(cast.globex), amount_nanos=-BRL,
        book=ledger.WORLD_PIX, reverses=entry,
    )  # fmt: skip
    assert referrals.reward_referrals() == 0
    make_top_up(wallet=wallet_of(cast.globex))
    assert referrals.reward_referrals() == 1


def test_it_may_wait_until_a_top_up_can_no_longer_be_returned_by_a_click(cast: Cast, real_clock: None) -> None:
    switch_on(referral_wait_days=7)
    refer(cast.acme, cast.globex)
    make_top_up(wallet=wallet_of(cast.globex))
    assert referrals.reward_referrals() == 0
    clock.shift(7 * 86_400 + 60)
    assert referrals.reward_referrals() == 1


def test_beyond_the_months_limit_only_the_referred_one_gets_its_own(cast: Cast) -> None:
    switch_on(referral_monthly_max=1)
    first, second = make_organization(tax_id="11444777000161"), cast.globex
    for organization in (first, second):
        refer(cast.acme, organization)
        make_top_up(wallet=wallet_of(organization))
    assert referrals.reward_referrals() == 2
    assert [promo_of(each) for each in (cast.acme, first, second)] == [25 * BRL] * 3
    beyond = Referral.everywhere.get(referred=second)
    assert beyond.referrer_entry is None and "Limite" in beyond.reason
    page = as_(cast.alice).get("/app/indicacao/").content.decode()
    assert "Além do limite do mês" in page and "neste mês, 1" in page


# ── The link ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def as_(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_the_link_is_kept_through_sign_up_to_the_first_page(cast: Cast) -> None:
    page = as_(cast.alice).get("/app/indicacao/").content.decode()
    code = ReferralCode.everywhere.get(organization=cast.acme).code
    assert f"/?indicacao={code}" in page and "R$\u00a025,00" in page
    newcomer = Client()
    assert newcomer.get(f"/?indicacao={code.lower()}").cookies[COOKIE]["httponly"]
    user = User.objects.create_user("dora@initech.com.br", PASSWORD, accepted_terms_at=clock.now())
    newcomer.force_login(user)
    form = {"tax_id_kind": "cnpj", "cnpj": "11.444.777/0001-61", "name": "Initech"}
    assert newcomer.post("/app/comecar/", form).status_code == 302
    first = newcomer.get("/app/")
    assert first.status_code == 200 and not newcomer.cookies[COOKIE].value
    initech = Organization.objects.get(name="Initech")
    assert Referral.everywhere.get(referred=initech).referrer == cast.acme
    assert "Indicação registrada" in newcomer.get("/app/").content.decode()
    make_top_up(wallet=wallet_of(initech))
    assert referrals.reward_referrals() == 1


def test_a_link_that_does_not_count_is_forgotten_without_a_word(cast: Cast) -> None:
    client = as_(cast.alice)
    client.get(f"/?indicacao={referrals.code_of(cast.acme).code}")
    assert client.get("/app/").status_code == 200 and not client.cookies[COOKIE].value
    assert not Referral.everywhere.exists()
    assert COOKIE not in Client().get("/?indicacao=<script>").cookies


def test_a_code_may_be_typed_where_coupons_are(cast: Cast) -> None:
    code = referrals.code_of(cast.acme).code
    answer = as_(cast.charlie).post("/app/cupom/", {"codigo": code.lower()}, follow=True)
    assert "Indicação registrada" in answer.content.decode()
    assert Referral.everywhere.get().referred == cast.globex


def test_it_does_not_name_whom_it_brought(cast: Cast) -> None:
    refer(cast.acme, cast.globex)
    page = as_(cast.alice).get("/app/indicacao/").content.decode()
    assert "Globex" not in page and "Aguardando a primeira recarga" in page
    switch_on(referral_is_on=False)
    assert "não está ativo" in as_(cast.alice).get("/app/indicacao/").content.decode()


# ── At once ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_ten_workers_reward_once_and_within_the_limit(committed_db: None) -> None:
    switch_on(referral_monthly_max=2)
    cast = make_cast()
    brought = [make_organization(tax_id=f"{number:014d}") for number in range(4)]
    for organization in brought:
        refer(cast.acme, organization)
        make_top_up(wallet=wallet_of(organization))
    barrier = threading.Barrier(10)

    def reward(_: int) -> None:
        barrier.wait()
        try:
            referrals.reward_referrals()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(reward, range(10)))
    assert [promo_of(each) for each in brought] == [25 * BRL] * 4
    assert promo_of(cast.acme) == 50 * BRL and Lot.everywhere.filter(kind="promo").count() == 6


def test_a_use_of_a_code_is_one_or_the_other(cast: Cast) -> None:
    used = use_code(cast.globex, code=referrals.code_of(cast.acme).code, user=cast.charlie)
    assert isinstance(used, Referral)
