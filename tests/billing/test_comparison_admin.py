"""Câmbio e encargos: what an administrator sees, enters and confirms."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from billing.comparison_rates import current_rates
from billing.models import ComparisonParameter
from tests.make import make_user
from tokia import clock

pytestmark = pytest.mark.django_db
LIST, ADD = "/admin/billing/comparisonparameter/", "/admin/billing/comparisonparameter/add/"


@pytest.fixture
def staff(client: Client) -> Client:
    user = make_user(email="admin@tokia.test")
    User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True)
    client.force_login(User.objects.get(pk=user.pk))
    return client


def test_the_list_says_what_needs_a_person(staff: Client, settings: Settings) -> None:
    settings.COMPARISON_SOURCE_MAX_AGE_DAYS = 100_000
    page = staff.get(LIST).content.decode()
    assert "Câmbio e encargos" in page and "Decreto nº 12.499/2025" in page and "3,5%" in page
    assert "busque a PTAX" in page  # there is no quotation
    assert "ninguém confere a fonte" not in page
    settings.COMPARISON_SOURCE_MAX_AGE_DAYS = -1
    assert staff.get(LIST).content.decode().count("ninguém confere a fonte desde") == len(ComparisonParameter.Name)


def test_a_number_is_entered_with_its_source_and_never_changed(staff: Client) -> None:
    today = clock.today_in_brazil()
    given = {"name": "iof", "value": "2.38", "valid_from": f"{today:%d/%m/%Y}", "checked_on": f"{today:%d/%m/%Y}",
             "source": "Decreto de teste", "source_url": ""}  # fmt: skip
    assert staff.post(ADD, given).status_code == 302
    assert current_rates().iof_bps == 238
    newest = ComparisonParameter.objects.latest("id")
    assert (newest.unit, newest.entered_by, newest.value) == ("percent", "admin@tokia.test", Decimal("2.38"))
    refused = staff.post(ADD, {**given, "value": "101"})
    assert refused.status_code == 200 and "Informe um valor de 0 a 100%." in refused.content.decode()
    assert staff.post(f"{LIST}{newest.pk}/change/", given).status_code == 403
    assert staff.post(f"{LIST}{newest.pk}/delete/", {"post": "yes"}).status_code == 403


def test_a_source_that_was_looked_at_again_is_told_so(staff: Client, settings: Settings) -> None:
    settings.COMPARISON_SOURCE_MAX_AGE_DAYS = 0
    ids = list(ComparisonParameter.objects.filter(name__in=("iof", "hosted")).values_list("pk", flat=True))
    before = ComparisonParameter.objects.count()
    page = staff.post(LIST, {"action": "look_again", "_selected_action": ids}, follow=True).content.decode()
    assert "2 fontes conferidas hoje" in page
    assert ComparisonParameter.objects.count() == before + 2
    newest = ComparisonParameter.objects.filter(name="iof").latest("id")
    assert newest.checked_on == clock.today_in_brazil() and newest.valid_from == dt.date(2025, 6, 11)
    page = staff.post(LIST, {"action": "look_again", "_selected_action": ids}, follow=True).content.decode()
    assert "o histórico não se confere de novo" in page
