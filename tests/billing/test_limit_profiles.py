"""Limit profiles in the admin: reais and percent in, nanos and hundredths stored; who has which, and what applies to whom."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import LimitProfile, Organization, User
from accounts.projects import create_project
from billing import budgets
from billing.limits import tell_percent
from billing.money import BRL
from tests.cast import Cast, make_cast
from tests.make import make_key

pytestmark = pytest.mark.django_db
LIST = "/admin/accounts/limitprofile/"


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@pytest.fixture
def staff(client: Client, cast: Cast) -> Client:
    client.force_login(User.objects.create_superuser("admin@tokia.com.br", "correct horse battery staple", name="Ada"))
    return client


def page_of(client: Client, url: str) -> str:
    return client.get(url).content.decode().replace("\xa0", " ")


def typed(**fields: str) -> dict[str, str]:
    return {
        "name": "Médio", "requests_per_minute": "120", "tokens_per_minute": "200000", "concurrent_calls": "",
        "open_charges_max": "",
        "top_up_min": "", "top_up_max": "", "margin": "", **fields,
    }  # fmt: skip


def test_it_takes_reais_and_percent(staff: Client) -> None:
    data = typed(top_up_min="50", top_up_max="2.500,50", margin="-2,25", concurrent_calls="8", open_charges_max="3")
    assert staff.post(f"{LIST}add/", data).status_code == 302
    profile = LimitProfile.objects.get()
    assert (profile.top_up_min_nanos, profile.top_up_max_nanos) == (50 * BRL, 2_500_500_000_000)
    assert (profile.margin_bps, profile.concurrent_calls, profile.open_charges_max) == (-225, 8, 3)
    page = page_of(staff, f"{LIST}{profile.pk}/change/")
    assert 'value="2500,50"' in page and 'value="-2,25"' in page
    staff.post(f"{LIST}{profile.pk}/change/", typed(name="Médio"))
    profile.refresh_from_db()
    assert (profile.top_up_min_nanos, profile.top_up_max_nanos, profile.margin_bps, profile.concurrent_calls) == (
        None,
        None,
        0,
        None,
    )
    page = page_of(staff, LIST)
    assert "R$ 10,00 a R$ 50.000,00, até 10 em aberto" in page and "sem limite" in page and "0%" in page


def test_it_refuses_what_cannot_be(staff: Client) -> None:
    for wrong in (
        {"top_up_min": "0"}, {"top_up_min": "0,005"}, {"top_up_max": "-1"}, {"top_up_min": "100", "top_up_max": "50"},
        {"top_up_min": "60.000"}, {"top_up_max": "5"},  # against what is everybody's
        {"margin": "abc"}, {"margin": "0,001"}, {"margin": "-50,01"}, {"margin": "301"}, {"margin": "NaN"}, {"margin": "Infinity"},
        {"requests_per_minute": "0"}, {"tokens_per_minute": "0"}, {"concurrent_calls": "0"}, {"open_charges_max": "0"},
        {"requests_per_minute": "-1"}, {"name": ""},
    ):  # fmt: skip
        assert staff.post(f"{LIST}add/", typed(**wrong)).status_code == 200, wrong
    assert not LimitProfile.objects.exists()


def test_it_moves_organizations_together_with_a_reason(staff: Client, cast: Cast) -> None:
    profile = LimitProfile.objects.create(name="Grande", requests_per_minute=9, tokens_per_minute=9)
    chosen = {"action": "assign_profile", "_selected_action": [cast.acme.pk, cast.globex.pk]}
    url = "/admin/accounts/organization/"
    page = staff.post(url, chosen).content.decode()
    assert "Acme" in page and "Globex" in page and "Grande" in page
    assert staff.post(url, {**chosen, "apply": "1", "limit_profile": profile.pk, "reason": ""}).status_code == 200
    assert not Organization.objects.exclude(limit_profile=None).exists()
    staff.post(url, {**chosen, "apply": "1", "limit_profile": profile.pk, "reason": "Pediram mais"})
    assert set(Organization.objects.values_list("limit_profile__name", flat=True)) == {"Grande"}
    assert LogEntry.objects.filter(change_message="Perfil de limites: de nenhum para Grande. Pediram mais").count() == 2
    page = page_of(staff, LIST)
    assert f"limit_profile__id__exact={profile.pk}" in page
    assert staff.post(f"{LIST}{profile.pk}/delete/", {"post": "yes"}).status_code == 403  # somebody has it
    staff.post(url, {**chosen, "apply": "1", "limit_profile": "", "reason": "De volta"})
    assert not Organization.objects.exclude(limit_profile=None).exists()


def test_it_tells_what_applies_to_an_organization_and_why(staff: Client, cast: Cast) -> None:
    url = f"{LIST}empresa/{cast.acme.pk}/"
    page = page_of(staff, url)
    assert "Sem perfil" in page and "600 por chave" in page and "R$ 10,00" in page and "Nenhuma: todas" in page
    cast.acme.limit_profile = LimitProfile.objects.create(
        name="Grande", requests_per_minute=1_200, tokens_per_minute=2_000_000, top_up_max_nanos=100 * BRL, margin_bps=250
    )
    cast.acme.save()
    make_key(organization=cast.acme, name="robô", requests_per_minute=5_000, tokens_per_minute=10)
    page = page_of(staff, url)
    for part in ("Grande", "1.200", "2.000.000", "R$ 100,00", "2,5%", "1.200 (da empresa; a chave pede 5.000)", "os da empresa"):
        assert part in page, part
    assert url in staff.get(f"/admin/accounts/organization/{cast.acme.pk}/change/").content.decode()
    assert staff.get(f"{LIST}empresa/987654/").status_code == 404


def test_a_copy_is_nobodys(staff: Client, cast: Cast) -> None:
    cast.acme.limit_profile = profile = LimitProfile.objects.create(
        name="Grande", requests_per_minute=9, tokens_per_minute=9, margin_bps=5
    )
    cast.acme.save()
    for _ in range(2):
        staff.get(f"{LIST}{profile.pk}/copiar/")
    assert list(LimitProfile.objects.order_by("id").values_list("name", "margin_bps", "organizations")) == [
        ("Grande", 5, cast.acme.pk), ("Grande (cópia)", 5, None), ("Grande (cópia 2)", 5, None),
    ]  # fmt: skip


def test_staff_without_the_permission_see_nothing(client: Client, cast: Cast) -> None:
    clerk = User.objects.create_user("clerk@tokia.com.br", "x", is_staff=True)
    client.force_login(clerk)
    assert client.get(f"{LIST}empresa/{cast.acme.pk}/").status_code == 403
    clerk.user_permissions.add(Permission.objects.get(codename="view_limitprofile"))
    client.force_login(User.objects.get(pk=clerk.pk))
    assert client.get(f"{LIST}empresa/{cast.acme.pk}/").status_code == 200


def test_it_lists_projects_and_budgets_to_look_at(staff: Client, cast: Cast) -> None:
    site = create_project(cast.acme, by=cast.alice, name="Site")
    budget = budgets.set_budget(cast.acme, by=None, scope="project", subject_id=site.pk, window="month", limit_nanos=20 * BRL)
    assert "Site" in page_of(staff, "/admin/accounts/project/")
    assert "R$ 20,00" in page_of(staff, "/admin/billing/budget/")
    page = page_of(staff, f"/admin/billing/budget/{budget.pk}/change/")
    assert "Site" in page and "gasto" in page.lower() and 'name="_save"' not in page


@pytest.mark.parametrize(
    ("bps", "told"), [(0, "0%"), (250, "2,5%"), (-300, "-3%"), (30_000, "300%"), (-1, "-0,01%"), (1_000, "10%")]
)
def test_it_writes_percents_as_people_do(bps: int, told: str) -> None:
    assert tell_percent(bps) == told


def test_everybody_in_the_organization_reads_what_applies_but_no_margin(client: Client, cast: Cast) -> None:
    cast.acme.limit_profile = LimitProfile.objects.create(
        name="Grande", requests_per_minute=1_200, tokens_per_minute=2_000_000, concurrent_calls=30, margin_bps=250
    )
    cast.acme.save()
    make_key(organization=cast.acme, name="robô", tokens_per_minute=10)
    for person in (cast.alice, cast.bob, cast.carol):
        client.force_login(person)
        page = page_of(client, "/app/configuracoes/limites/")
        assert "1.200" in page and "2.000.000" in page and "R$ 50.000,00" in page and "robô" in page
        assert "margem" not in page.lower() and "2,5%" not in page and "Grande" not in page
