"""Usage by project, tag and provider, with filters that combine where they can; staff's pages of seals, closings and files."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import Project, User
from billing import seals
from billing.models import LedgerEntry, SealCheck
from billing.money import BRL
from tests.cast import Cast, make_cast
from tests.make import make_key, make_usage, make_wallet

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast(db: None) -> Cast:
    cast = make_cast()
    wallet = make_wallet(organization=cast.acme, brl="100")
    project = Project.everywhere.create(organization=cast.acme, name="Site novo")
    key, _ = make_key(organization=cast.acme, user=cast.alice, name="produção")
    given: dict[str, Any] = {"api_key_id": key.pk, "provider_name": "openai"}
    make_usage(wallet=wallet, gross_nanos=3 * BRL, route_name="a/one", project_id=project.pk, tags=["vendas", "sul"], **given)
    make_usage(wallet=wallet, gross_nanos=BRL, route_name="b/two", tags=["vendas"], **given)
    make_usage(wallet=wallet, gross_nanos=2 * BRL, route_name="b/two", provider_name="", api_key_id=key.pk)
    return cast


def as_(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


@pytest.mark.parametrize(
    ("query", "lines", "total"),
    [
        ("por=project", [("Sem projeto", 3), ("Site novo", 3)], 6),
        ("por=provider", [("openai", 4), ("Nenhum provedor", 2)], 6),
        ("por=tag", [("vendas", 4), ("sul", 3)], 6),
        ("por=route&etiqueta=vendas", [("a/one", 3), ("b/two", 1)], 4),
        ("por=day&etiqueta=sul&modelo=a/one", [3], 3),
        ("por=key&etiqueta=vendas", [("a/one", 3), ("b/two", 1)], 4),  # a tag knows no key: by model instead
        ("por=key&projeto=0", [("produção", 3)], 3),
        ("por=route&chave=999999", [], 0),
    ],
)
def test_usage_by_what_and_of_whom(cast: Cast, query: str, lines: list[object], total: int) -> None:
    page = as_(cast.bob).get(f"/app/uso/?{query}")
    rows = [(row.line.label, row.line.net_nanos // BRL) for row in page.context["rows"]]
    assert rows == lines or [net for _, net in rows] == lines
    assert page.context["total"].net_nanos == total * BRL
    assert "combina só com modelo e dia" in page.content.decode()


def test_calls_are_found_by_project_and_tag(cast: Cast) -> None:
    client = as_(cast.bob)
    for query, routes in (("projeto=0", ["b/two", "b/two"]), ("etiqueta=sul", ["a/one"]), ("etiqueta=norte", []),
                          ("etiqueta=vendas&modelo=b/two", ["b/two"]), ("projeto=x", [])):  # fmt: skip
        page = client.get(f"/app/requisicoes/?{query}")
        assert [record.route_name for record in page.context["records"]] == routes, query


def test_charlie_sees_no_name_of_acmes(cast: Cast) -> None:
    for address in ("/app/uso/?por=project", "/app/uso/?por=tag", "/app/requisicoes/", "/app/uso/uso.csv"):
        answer = as_(cast.charlie).get(address)
        text = b"".join(answer).decode()
        assert not any(name in text for name in ("Site novo", "vendas", "a/one", "produção")), address


def test_staff_look_at_seals_and_ask_for_a_check(cast: Cast) -> None:
    staff = User.objects.create_superuser("staff@tokia.com.br", "correct horse battery staple")
    client = as_(staff)
    seals.seal_entries()
    page = client.get("/admin/billing/sealcheck/conferir", follow=True)
    assert "elos conferem" in page.content.decode() and SealCheck.objects.get().broken_seq is None
    for name in ("ledgerseal", "sealcheck", "monthclose", "export"):
        assert client.get(f"/admin/billing/{name}/").status_code == 200
    link = client.get(f"/admin/billing/ledgerseal/{seals.head().seq}/change/")
    assert link.status_code == 200 and seals.head().digest.hex() in link.content.decode()
    assert LedgerEntry.objects.exists()
