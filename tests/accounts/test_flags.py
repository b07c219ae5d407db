"""Features that an administrator turns on and off: for whom, within a second, with a reason and a history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts import flags
from accounts.flags import FlagRefused, Mode, UnknownFlag
from accounts.models import FeatureFlag, FeatureFlagChange, Organization, User
from tests.cast import Cast, make_cast
from tests.make import make_organization

pytestmark = pytest.mark.django_db
NAME, PAGE = "playground", "/app/playground/"


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    flags.forget()
    yield
    flags.forget()


@pytest.fixture
def ana(db: None) -> User:
    return User.objects.create_superuser("ana@tokia.test", "a long enough password")


def put(by: User, mode: str, **given: Any) -> FeatureFlag:
    return flags.set_flag(NAME, mode=mode, by=by, reason="Teste de recurso", **given)


def test_a_flag_is_as_the_code_says_until_somebody_decides(ana: User) -> None:
    acme = make_organization()
    assert flags.is_on(NAME, organization=acme) and flags.is_on(NAME)
    with pytest.raises(UnknownFlag):
        flags.is_on("plaground")
    with pytest.raises(UnknownFlag):
        flags.gated("plaground")
    with pytest.raises(UnknownFlag):
        flags.set_flag("plaground", mode=Mode.NOBODY, by=ana, reason="Um motivo")
    put(ana, Mode.NOBODY)
    assert not flags.is_on(NAME, organization=acme) and not flags.is_on(NAME)
    assert flags.is_on("referrals", organization=acme)
    put(ana, Mode.EVERYBODY)
    assert flags.is_on(NAME, organization=acme) and flags.is_on(NAME)
    put(ana, Mode.DEFAULT)
    assert flags.is_on(NAME, organization=acme)


def test_a_flag_is_on_for_chosen_organizations_and_for_a_part_that_only_grows(ana: User) -> None:
    acme, globex = make_organization(), make_organization()
    put(ana, Mode.CHOSEN, organization_ids=[acme.pk], percent=50)
    assert flags.is_on(NAME, organization=acme) and not flags.is_on(NAME, organization=globex) and not flags.is_on(NAME)
    crowd = [Organization(pk=number) for number in range(1, 2_001)]
    inside: set[int] = set()
    for percent in (0, 10, 50, 100):
        put(ana, Mode.PART, percent=percent, organization_ids=[globex.pk])
        now = {one.pk for one in crowd if flags.is_on(NAME, organization=one)} - {globex.pk}
        assert inside <= now and abs(len(now) - 20 * percent) <= 60
        inside = now
        assert flags.is_on(NAME, organization=globex)
    assert flags.is_on(NAME)
    assert [flags.share_of(NAME, 1), flags.share_of(NAME, 2), flags.share_of("referrals", 1)] == [1018, 4258, 9253]  # for ever


def test_another_process_follows_within_its_second(ana: User, monkeypatch: pytest.MonkeyPatch) -> None:
    acme, now = make_organization(), [100.0]
    monkeypatch.setattr("accounts.flags.time.monotonic", lambda: now[0])
    assert flags.is_on(NAME, organization=acme)
    FeatureFlag.objects.create(name=NAME, mode=Mode.NOBODY)  # by somebody else
    assert flags.is_on(NAME, organization=acme)
    now[0] += flags.BELIEVED_SECONDS
    assert not flags.is_on(NAME, organization=acme) and flags.BELIEVED_SECONDS <= 2


def test_a_change_has_a_reason_and_a_history(ana: User) -> None:
    for given, told in (
        ({"mode": Mode.NOBODY, "reason": "  ok  "}, "motivo"), ({"mode": "always", "reason": "Um motivo"}, "situação"),
        ({"mode": Mode.PART, "percent": 101, "reason": "Um motivo"}, "100%"),
        ({"mode": Mode.CHOSEN, "reason": "Um motivo"}, "empresa"),
        ({"mode": Mode.DEFAULT, "reason": "Um motivo"}, "Nada mudou"),
    ):  # fmt: skip
        with pytest.raises(FlagRefused, match=told):
            flags.set_flag(NAME, by=ana, **given)
    assert not FeatureFlagChange.objects.exists()
    put(ana, Mode.PART, percent=10)
    change = FeatureFlagChange.objects.get()
    assert (change.before, change.after) == ("Padrão do sistema: ligado", "Para uma parte das empresas: 10%")
    assert (change.changed_by, change.reason) == ("ana@tokia.test", "Teste de recurso")


def test_pages_and_menu_follow_the_flag(client: Client, ana: User) -> None:
    cast: Cast = make_cast()
    client.force_login(cast.alice)
    assert client.get(PAGE).status_code == 200 and f'href="{PAGE}"' in client.get("/app/cupom/").content.decode()
    put(ana, Mode.CHOSEN, organization_ids=[cast.globex.pk])
    assert client.get(PAGE).status_code == 404 and f'href="{PAGE}"' not in client.get("/app/cupom/").content.decode()
    assert client.post(f"{PAGE}chave/").status_code == 404
    flags.set_flag("referrals", mode=Mode.NOBODY, by=ana, reason="Sem verba este mês")
    assert client.get("/app/indicacao/").status_code == 404
    assert Client().get(PAGE)["Location"].startswith("/conta/entrar/")  # strangers learn nothing of it
    client.force_login(cast.charlie)
    assert client.get(PAGE).status_code == 200


def test_an_administrator_changes_it_in_the_admin(client: Client, ana: User) -> None:
    acme = make_organization(name="Acme <b>", tax_id="11222333000181")
    client.force_login(ana)
    listed = client.get(reverse("admin:accounts_featureflag_changelist")).content.decode()
    assert "Playground" in listed and "Indicações" in listed and "Padrão do sistema: ligado" in listed
    flag = FeatureFlag.objects.get(name=NAME)
    act = reverse("admin:accounts_featureflag_change_flag", args=[flag.pk])
    form = {"mode": Mode.CHOSEN, "percent": "", "organizations": "11.222.333/0001-81\n999999", "reason": "Piloto com a Acme"}
    assert "Nenhuma empresa assim: 999999" in client.post(act, form).content.decode()
    assert "Escolha ao menos uma empresa" in client.post(act, form | {"organizations": ""}).content.decode()
    assert client.post(act, form | {"organizations": "11.222.333/0001-81"}).status_code == 302
    flag.refresh_from_db()
    assert (flag.mode, flag.organization_ids, flag.changed_by) == (Mode.CHOSEN, [acme.pk], "ana@tokia.test")
    page = client.get(reverse("admin:accounts_featureflag_change", args=[flag.pk])).content.decode()
    assert "Acme &lt;b&gt;" in page and "Motivo: Piloto com a Acme" in page
    assert "Nada mudou" in client.post(act, form | {"organizations": f"{acme.pk} · Acme"}).content.decode()
    viewer = Client()
    viewer.force_login(User.objects.create_user("leo@tokia.test", "a long enough password", is_staff=True))
    assert viewer.post(act, form).status_code == 403
