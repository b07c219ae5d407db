"""Every URL, asked by charlie (owner of Globex) and by nobody, with Acme's ids: nothing of Acme is shown or moved.

Generated from the URL resolver: an address without a case here fails, so a new page is thought about once.
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.core.cache import cache
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts import audit
from accounts.members import invite
from accounts.models import ApiKey, DataCopy, Invitation, Membership, Organization, Project, Role
from accounts.projects import create_project
from billing.budgets import set_budget
from billing.events import tell
from billing.hooks import create_hook
from billing.models import (
    AlertChoice,
    Budget,
    Card,
    CardPayment,
    Charge,
    Event,
    Export,
    ExportPiece,
    Hook,
    HookDelivery,
    LedgerEntry,
    Lot,
    UsageRecord,
)
from billing.money import BRL
from gateway.models import Experiment, ExperimentArm, OwnKey
from gateway.secrets import seal
from tests.cast import Cast, make_cast
from tests.make import make_key, make_provider, make_route, make_usage, make_wallet
from tokia import clock

MARK = "segredo-da-acme"  # in all that Acme names
# For everybody: no page of these shows anything of an organization.
OPEN = {
    "", "docs/", "docs/busca/", "docs/indice.json", "docs/<slug:slug>.md", "docs/<slug:slug>/",
    "sitemap.xml", "robots.txt", "llms.txt", "openapi.yaml", "postman.json",
    "modelos/", "modelos/comparar/", "modelos/<str:maker>/<str:model>/",
    "precos/", "precos.json", "precos.csv", "status/", "status.json", "termos/", "privacidade/",
    "suboperadores/", "novidades/", "contato/", "idioma/",
    "parcial/comparacao/", "healthz",
    "readyz", "conta/entrar/", "conta/sair/", "conta/cadastro/", "conta/inativa/", "conta/confirmar-email/", "conta/email/",
    "conta/confirmar/", "conta/chaves-de-acesso/entrar/", "conta/chaves-de-acesso/", "conta/ligadas/", "conta/2fa/",
    "conta/entrar/google/", "conta/entrar/google/retorno/", "conta/entrar/github/", "conta/entrar/github/retorno/",
    "conta/entrar/desistiu/", "conta/entrar/erro/", "conta/cadastro/terminar/",
    "conta/senha/esqueci/", "conta/senha/esqueci/enviado/", "conta/senha/pronta/",
    r"^conta/senha/nova/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
    "app/recarregar/automatica/desligar/<str:token>/", "pagar/<str:token>/", "pagar/<str:token>/situacao/", "webhooks/stripe/",
    "webhooks/pix/<str:secret>/pix", "webhooks/pix/<str:secret>", "webhooks/focus/",
}  # fmt: skip
# Charlie sees his own there, never Acme's; nobody is sent to sign in.
OWN = {
    "conta/dados/", "conta/seguranca/", "conta/sessoes/encerrar-outras/", "conta/2fa/confirmar/", "conta/2fa/aplicativo/ligar/",
    "conta/2fa/aplicativo/remover/", "conta/2fa/codigos/", "conta/2fa/codigos/novos/", "conta/2fa/codigos/codigos.txt",
    "conta/chaves-de-acesso/nova/", "conta/chaves-de-acesso/confirmar/", "conta/privacidade/", "conta/privacidade/copia/",
    "conta/privacidade/excluir/", "conta/privacidade/desistir/", "app/configuracoes/privacidade/",
    "app/configuracoes/privacidade/copia/", "app/configuracoes/privacidade/encerrar/", "app/configuracoes/privacidade/desistir/",
    "app/configuracoes/seguranca/", "app/configuracoes/seguranca/duas-etapas/", "app/configuracoes/seguranca/registro/",
    "app/configuracoes/seguranca/registro.csv",
    "conta/senha/trocar/", "app/", "app/parcial/saldo/", "app/parcial/ultimas/",
    "app/parcial/primeira-chamada/", "app/parcial/passos/", "app/comecar/",
    "app/comecar/cnpj/", "app/comecar/cep/", "app/chaves/", "app/chaves/nova/", "app/chaves/testar/",
    "app/equipe/", "app/configuracoes/empresa/",
    "app/recarregar/", "app/recarregar/cartao/", "app/recarregar/cartoes/", "app/recarregar/cartoes/salvar/",
    "app/recarregar/automatica/", "app/recarregar/automatica/desligar/", "app/recargas/", "app/recargas/lista/", "app/desconto/",
    "app/cupom/", "app/indicacao/", "app/avisos/", "app/configuracoes/avisos/", "app/webhooks/", "app/webhooks/novo/",
    "app/projetos/", "app/projetos/novo/", "app/orcamentos/", "app/orcamentos/novo/", "app/configuracoes/limites/",
    "app/extrato/", "app/extrato/extrato.csv", "app/uso/", "app/requisicoes/", "app/extrato/extrato.ofx",
    "app/extrato/fechamentos/", "app/uso/uso.csv", "app/exportacoes/", "app/notas/", "app/notas/dados/", "app/experimentos/",
    "app/visita/sair/", "app/experimentos/novo/", "app/chaves-de-provedores/", "app/chaves-de-provedores/nova/",
    "app/playground/", "app/playground/chave/",
}  # fmt: skip
# Named by an id: Acme's are not found.
OBJECTS = {
    "conta/sessoes/<int:session_id>/encerrar/", "conta/chaves-de-acesso/<int:pk>/mudar/",
    "conta/chaves-de-acesso/<int:pk>/remover/",
    "conta/ligadas/<str:provider>/desligar/", "conta/privacidade/copias/<uuid:copy_id>.zip",
    "app/chaves/<int:key_id>/mudar/", "app/chaves/<int:key_id>/pausar/",
    "app/chaves/<int:key_id>/girar/", "app/chaves/<int:key_id>/revogar/",
    "app/projetos/<int:project_id>/", "app/projetos/<int:project_id>/renomear/", "app/projetos/<int:project_id>/arquivar/",
    "app/projetos/<int:project_id>/restaurar/", "app/projetos/<int:project_id>/chaves/",
    "app/orcamentos/<int:budget_id>/mudar/", "app/orcamentos/<int:budget_id>/encerrar/",
    "app/equipe/convites/<int:invitation_id>/cancelar/",
    "app/equipe/convites/<int:invitation_id>/reenviar/", "app/equipe/<int:membership_id>/papel/",
    "app/equipe/<int:membership_id>/remover/", "app/empresas/trocar/", "app/recarregar/<uuid:charge_id>/",
    "app/experimentos/<int:experiment_id>/", "app/experimentos/<int:experiment_id>/mudar/",
    "app/experimentos/<int:experiment_id>/iniciar/", "app/experimentos/<int:experiment_id>/encerrar/",
    "app/chaves-de-provedores/<int:own_key_id>/uso/", "app/chaves-de-provedores/<int:own_key_id>/testar/",
    "app/chaves-de-provedores/<int:own_key_id>/remover/",
    "app/avisos/<int:event_id>/dispensar/", "app/webhooks/<int:hook_id>/", "app/webhooks/<int:hook_id>/mudar/",
    "app/webhooks/<int:hook_id>/ligar/", "app/webhooks/<int:hook_id>/testar/", "app/webhooks/<int:hook_id>/segredo/",
    "app/webhooks/<int:hook_id>/remover/", "app/webhooks/<int:hook_id>/entregas/<int:delivery_id>/",
    "app/webhooks/<int:hook_id>/entregas/<int:delivery_id>/situacao/",
    "app/webhooks/<int:hook_id>/entregas/<int:delivery_id>/reenviar/",
    "app/experimentos/<int:experiment_id>/excluir/", "app/experimentos/<int:experiment_id>/resultados.csv",
    "app/recargas/<int:lot_id>/devolver/",
    "app/extrato/recibos/<int:entry_id>.pdf", "app/extrato/recibos/<str:reference>/", "app/extrato/fechamentos/<int:close_id>/",
    "app/extrato/fechamentos/<int:close_id>/fechamento.csv", "app/extrato/fechamentos/<int:close_id>/fechamento.pdf",
    "app/notas/<int:invoice_id>/", "app/notas/<int:invoice_id>/nota.xml", "app/notas/<int:invoice_id>/nota.pdf",
    "app/notas/<int:invoice_id>/enviar/", "app/notas/<int:invoice_id>/reemitir/", "app/notas/meses/<str:month>.zip",
    "app/notas/recarga/<str:reference>/",
    "app/exportacoes/<uuid:export_id>/", "app/exportacoes/<uuid:export_id>/situacao/", "app/exportacoes/<uuid:export_id>/arquivo/",
    "app/recarregar/cartao/<uuid:payment_id>/", "app/recarregar/cartao/<uuid:payment_id>/situacao/",
    "app/recarregar/cartao/<uuid:payment_id>/confirmar/", "app/recarregar/cartao/<uuid:payment_id>/conferir/",
    "app/recarregar/cartoes/<int:card_id>/principal/", "app/recarregar/cartoes/<int:card_id>/remover/",
    "app/recarregar/<uuid:charge_id>/situacao/", "app/recarregar/<uuid:charge_id>/conferir/", "app/requisicoes/<uuid:call_id>/",
    "app/playground/custo/<uuid:call_id>/",
}  # fmt: skip
# Whoever has the token sees who invites; accepting takes the invited address.
BY_TOKEN = {"app/convite/<str:token>/"}
STAFF = "admin/"
API = "api/v1/"  # tests/house/test_api_strangers.py

pytestmark = pytest.mark.django_db


def routes(patterns: list[URLPattern | URLResolver] | None = None, prefix: str = "") -> Iterator[str]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route


class World:
    """Acme's things, and the values of every parameter of every address."""

    def __init__(self, cast: Cast) -> None:
        self.cast = cast
        Organization.objects.filter(pk=cast.acme.pk).update(name=MARK, trade_name=MARK)
        self.key, self.secret = make_key(organization=cast.acme, user=cast.alice, name=MARK)
        alice = Membership.everywhere.select_related("organization", "user").get(user=cast.alice)
        self.invitation, self.token = invite(alice, email=f"{MARK}@acme.com.br", role=Role.FINANCE)
        self.wallet = make_wallet(organization=cast.acme)
        make_wallet(organization=cast.globex, brl="10.00")
        self.call_id = clock.new_id()
        make_usage(wallet=self.wallet, gross_nanos=BRL, id_=self.call_id, route_name=f"{MARK}/model", api_key_id=self.key.pk)
        now = clock.now()
        self.charge = Charge.everywhere.create(
            id=clock.new_id(), wallet=self.wallet, txid=f"txid{MARK.replace('-', '')}0000000000000", amount_nanos=77 * BRL,
            status=Charge.Status.PENDING, brcode=MARK, created_at=now, expires_at=now + dt.timedelta(hours=1),
        )  # fmt: skip
        self.experiment = Experiment.everywhere.create(organization=cast.acme, name=MARK, model=f"{MARK}/model")
        self.arm = ExperimentArm.everywhere.create(experiment=self.experiment, label=MARK, route=make_route())
        self.own_key = OwnKey.everywhere.create(
            organization=cast.acme, provider=make_provider(), label=MARK, secret=seal(MARK.encode(), organization_id=cast.acme.pk)
        )
        self.hook, _ = create_hook(cast.acme, url=f"https://{MARK}.com.br/", name=MARK)
        self.event = tell(cast.acme, "organization.suspended", reference=MARK, payload={"reason": MARK}, is_mailed=False)
        self.delivery = HookDelivery.everywhere.get(hook=self.hook)
        self.project = create_project(cast.acme, by=cast.alice, name=MARK)
        self.budget = set_budget(
            cast.acme, by=cast.alice, scope="project", subject_id=self.project.pk, window="month", limit_nanos=BRL
        )
        self.export = Export.everywhere.create(
            id=clock.new_id(), organization=cast.acme, kind=Export.Kind.REQUESTS, form=Export.Form.SHEET, status=Export.Status.DONE,
            filters={"first_on": "2026-10-01", "last_on": "2026-10-31", "entry_kind": "", "group": "", "only": {}, "calls": {}},
        )  # fmt: skip
        ExportPiece.objects.create(export=self.export, number=0, data=zlib.compress(MARK.encode()))
        self.card = Card.everywhere.create(
            organization=cast.acme, stripe_id="pm_acme", brand=MARK, last4="4242", exp_month=1, exp_year=2030, is_default=True
        )
        self.card_payment = CardPayment.everywhere.create(
            id=clock.new_id(), wallet=self.wallet, how=CardPayment.How.PIX, amount_nanos=77 * BRL, card=self.card, brcode=MARK,
            status=CardPayment.Status.PENDING, created_at=now, expires_at=now + dt.timedelta(hours=1),
        )  # fmt: skip
        self.copy = DataCopy.everywhere.create(
            id=clock.new_id(), user=cast.alice, organization=cast.acme, created_at=now, status=DataCopy.Status.DONE,
            file=MARK.encode(),
        )  # fmt: skip
        passkey = Authenticator.objects.create(user=cast.alice, type=Authenticator.Type.WEBAUTHN, data={"name": MARK})
        session = UserSession.objects.create(user=cast.alice, ip="203.0.113.7", session_key=MARK, user_agent=MARK)
        SocialAccount.objects.create(user=cast.alice, provider="google", uid=MARK)
        audit.note("key_created", organization=cast.acme, user=cast.alice, detail={"name": MARK})
        self.values = {
            "copy_id": self.copy.pk, "pk": passkey.pk, "session_id": session.pk, "provider": "google",
            "card_id": self.card.pk, "payment_id": self.card_payment.pk,
            "project_id": self.project.pk, "budget_id": self.budget.pk,
            "hook_id": self.hook.pk, "delivery_id": self.delivery.pk, "event_id": self.event.pk if self.event else 0,
            "key_id": self.key.pk, "invitation_id": self.invitation.pk, "charge_id": self.charge.pk, "call_id": self.call_id,
            "lot_id": Lot.everywhere.filter(wallet=self.wallet).values_list("pk", flat=True)[0],
            "entry_id": LedgerEntry.objects.get(lot__wallet=self.wallet, kind="top_up").pk,
            "reference": LedgerEntry.objects.get(lot__wallet=self.wallet, kind="top_up").reference,
            "close_id": 1,  # real ones: tests/billing/test_closing.py
            "export_id": self.export.pk,
            "experiment_id": self.experiment.pk, "own_key_id": self.own_key.pk,
            "membership_id": Membership.everywhere.get(user=cast.bob).pk, "token": self.token, "secret": "made-up",
            "uidb36": "1", "key": "set-password", "maker": "acme", "model": "one", "slug": "chat",
        }  # fmt: skip
        self.form = {
            "organization": str(cast.acme.pk), "organization_id": str(cast.acme.pk), "wallet": str(self.wallet.pk),
            "wallet_id": str(self.wallet.pk), "key": str(self.key.pk), "api_key": str(self.key.pk), "chave": str(self.key.pk),
            "charge": str(self.charge.pk), "membership": str(self.values["membership_id"]), "role": "owner",
        }  # fmt: skip

    def address(self, route: str) -> str:
        for name, value in self.values.items():
            for converter in ("int", "str", "uuid"):
                route = route.replace(f"<{converter}:{name}>", str(value))
        return "/" + route.replace(r"^conta/senha/nova/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$", "conta/senha/nova/1-set-password/")

    def state(self) -> list[Any]:
        """All of Acme that a stranger could have moved."""
        acme = self.cast.acme
        models = (
            Organization.objects.filter(pk=acme.pk), Membership.everywhere.filter(organization=acme).exclude(user=None),
            ApiKey.everywhere.filter(organization=acme), Invitation.everywhere.filter(organization=acme),
            Charge.everywhere.filter(wallet=self.wallet), UsageRecord.everywhere.filter(organization=acme),
            Experiment.everywhere.filter(organization=acme), ExperimentArm.everywhere.filter(experiment__organization=acme),
            Card.everywhere.filter(organization=acme), CardPayment.everywhere.filter(wallet=self.wallet),
            OwnKey.everywhere.filter(organization=acme), Hook.everywhere.filter(organization=acme),
            HookDelivery.everywhere.filter(hook=self.hook), Event.everywhere.filter(organization=acme),
            AlertChoice.everywhere.filter(organization=acme), Project.everywhere.filter(organization=acme),
            Budget.everywhere.filter(organization=acme),
        )  # fmt: skip
        self.wallet.refresh_from_db()
        return [[*rows.order_by("pk").values()] for rows in models] + [self.wallet.posted_nanos, self.wallet.held_nanos]


@pytest.fixture
def world() -> World:
    cache.clear()
    return World(make_cast())


def test_it_has_a_case_for_every_address() -> None:
    known = OPEN | OWN | OBJECTS | BY_TOKEN
    found = {route for route in routes() if not route.startswith((STAFF, API))}
    assert found - known == set(), "say in this file who may see the new address"
    assert known - found == set()
    assert not OPEN & OWN and not OWN & OBJECTS


def test_it_shows_charlie_nothing_of_acme(world: World) -> None:
    before = world.state()
    for route in sorted(OPEN | OWN | OBJECTS):
        for method in ("get", "post"):
            client = Client()
            client.force_login(world.cast.charlie)
            response = getattr(client, method)(world.address(route), world.form | ({"typed": MARK} if method == "post" else {}))
            where = f"{method} {route}"
            assert response.status_code < 500, where
            if route in OBJECTS:
                assert response.status_code in (404, 405), where
            assert MARK not in b"".join(response).decode(errors="replace"), where
            assert world.state() == before, where


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer {key}"}], ids=["nobody", "key"])
def test_it_sends_nobody_to_sign_in(world: World, headers: dict[str, str]) -> None:
    """An API key, even Acme's own, is no session: the pages know it not."""
    before = world.state()
    headers = {name: value.format(key=world.secret) for name, value in headers.items()}
    for route in sorted(OWN | OBJECTS):
        for method in ("get", "post"):
            response = getattr(Client(headers=headers), method)(world.address(route), world.form)
            where = f"{method} {route}"
            assert response.status_code in (302, 404, 405), where
            if response.status_code == 302:
                assert response["Location"].startswith("/conta/entrar/"), where
    for route in sorted(OPEN):
        for method in ("get", "post"):
            response = getattr(Client(headers=headers), method)(world.address(route), world.form)
            assert response.status_code < 500 and MARK not in b"".join(response).decode(errors="replace"), f"{method} {route}"
    assert world.state() == before


def test_it_lets_charlie_accept_no_invitation_of_acme(world: World) -> None:
    client = Client()
    client.force_login(world.cast.charlie)
    before = world.state()
    [route] = BY_TOKEN
    assert client.post(world.address(route)).status_code == 404
    assert world.state() == before


def test_it_keeps_everybody_but_staff_out_of_the_admin(world: World) -> None:
    cases = {route for route in routes() if route.startswith(STAFF)}
    assert len(cases) > 20
    for person in (world.cast.charlie, None):
        client = Client()
        if person is not None:
            client.force_login(person)
        for route in sorted(cases):
            address = "/" + route.replace("<path:object_id>", str(world.key.pk)).replace("<id>", "1")
            for method in ("get", "post"):
                response = getattr(client, method)(address, world.form)
                assert response.status_code in (302, 403, 404, 405), f"{method} {route}"
                if response.status_code == 302:
                    assert response["Location"].startswith(("/admin/login/", "/conta/entrar/", "/admin/")), route
