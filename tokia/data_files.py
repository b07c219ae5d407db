"""The ZIPs of `accounts.data_copies`: JSON and CSV of what each floor keeps of a person, or of an organization. No secrets.

CSV is as Brazil's spreadsheets read it: `;`, decimal comma, a BOM.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import zipfile
from collections.abc import Iterable, Sequence
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.db import transaction
from django.db.models import F

from accounts.audit import KINDS
from accounts.data_copies import TRIES_MAX, keep_file
from accounts.models import ApiKey, AuditEvent, DataCopy, Invitation, Membership, Organization, Project, User
from accounts.tenancy import tenant
from billing.export_tables import Wanted, write_rows
from billing.models import Budget, Card, Charge, Export, Hook, Wallet
from billing.money import format_brl
from gateway.models import OwnKey
from invoices.models import Invoice
from tokia import clock

README_TEXT = """Cópia de dados da Tokia

Pedida em {when}, horário de Brasília.
Cada arquivo é uma tabela (CSV, abre em planilhas) ou uma ficha (JSON).
Segredos não estão aqui: nem senhas, nem o texto de chaves de API.
O conteúdo das chamadas só é guardado quando você pede (arquivos, lotes e respostas com "store"): baixe-o pela API.
"""
BYTES_MAX = 100 * 1_048_576  # of one table, before it is packed
log = logging.getLogger("tokia.data_files")


def make_waiting() -> int:
    """For a task: the copies asked for, oldest first. One that fails thrice has failed."""
    done = 0
    while (copy := _claim()) is not None:
        try:
            keep_file(copy, write_zip(copy))
        except Exception:  # whatever it was, the row says so and the queue goes on
            log.exception("a copy of data failed", extra={"copy": str(copy.pk)})
            if copy.tries >= TRIES_MAX:
                DataCopy.everywhere.filter(pk=copy.pk).update(status=DataCopy.Status.FAILED)
            break  # the task's next turn tries again
        done += 1
    return done


def _claim() -> DataCopy | None:
    """A worker that dies leaves the row waiting, one try poorer; two at once write the same file."""
    with transaction.atomic():
        waiting = DataCopy.everywhere.select_for_update(skip_locked=True, of=("self",)).filter(status=DataCopy.Status.WAITING)
        copy = waiting.select_related("user", "organization").order_by("tries", "created_at").first()
        if copy is None:
            return None
        if copy.tries >= TRIES_MAX:
            DataCopy.everywhere.filter(pk=copy.pk).update(status=DataCopy.Status.FAILED)
            return None
        DataCopy.everywhere.filter(pk=copy.pk).update(tries=F("tries") + 1)
        copy.tries += 1
        return copy


def write_zip(copy: DataCopy) -> bytes:
    files = _of_person(copy.user) if copy.organization is None else _of_organization(copy.organization)
    told = README_TEXT.format(when=copy.created_at.astimezone(clock.SAO_PAULO).strftime("%d/%m/%Y %H:%M"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("LEIA-ME.txt", told)
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


# ── A person ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _of_person(user: User) -> dict[str, bytes]:
    places = Membership.everywhere.filter(user=user).select_related("organization").order_by("id")
    sheet = {
        "nome": user.name, "e-mail": user.email, "criada em": user.date_joined, "último acesso": user.last_login,
        "aceitou os termos em": user.accepted_terms_at,
        "empresas": [
            {"empresa": str(place.organization), "papel": place.get_role_display(), "desde": place.created_at} for place in places
        ],
        "segundos fatores": [
            {"tipo": item.get_type_display(), "criado em": item.created_at, "usado em": item.last_used_at}
            for item in Authenticator.objects.filter(user=user).order_by("id")
        ],
        "contas ligadas": [
            {"onde": item.provider, "número lá": item.uid, "desde": item.date_joined, "o que nos disseram": item.extra_data}
            for item in SocialAccount.objects.filter(user=user).order_by("id")
        ],
    }  # fmt: skip
    sessions = UserSession.objects.filter(user=user).order_by("created_at")
    events = AuditEvent.everywhere.filter(user=user).order_by("id").select_related("organization")
    keys = ApiKey.everywhere.filter(created_by=user).order_by("id").select_related("organization")
    return {
        "pessoa.json": _sheet(sheet),
        "acessos-abertos.csv": _table(
            ["Entrou", "Visto", "IP", "Navegador"],
            ([item.created_at, item.last_seen_at, item.ip, item.user_agent] for item in sessions),
        ),
        "registro.csv": _events(events.iterator(), with_organization=True),
        "chaves-criadas.csv": _table(
            ["Empresa", "Nome", "Começo", "Fim", "Situação", "Criada em"],
            ([key.organization, key.name, key.prefix, key.suffix, key.get_status_display(), key.created_at] for key in keys),
        ),
    }


# ── An organization ──────────────────────────────────────────────────────────────────────────────────────────────────
def _of_organization(organization: Organization) -> dict[str, bytes]:
    with tenant(organization):
        return _people_of(organization) | _business_of(organization)


def _people_of(organization: Organization) -> dict[str, bytes]:
    sheet = {
        "razão social ou nome": organization.name, "nome fantasia": organization.trade_name, "documento": organization.tax_id,
        "e-mail para notas": organization.invoice_email, "inscrição municipal": organization.municipal_registration,
        "endereço": organization.address, "criada em": organization.created_at,
    }  # fmt: skip
    members = Membership.objects.select_related("user").order_by("id")
    invitations = Invitation.objects.order_by("id")
    keys = ApiKey.objects.select_related("project", "created_by").order_by("id")
    events = AuditEvent.objects.select_related("user").order_by("id")
    return {
        "empresa.json": _sheet(sheet),
        "equipe.csv": _table(
            ["Nome", "E-mail", "Papel", "Desde", "Último acesso"],
            ([item.user.name, item.user.email, item.get_role_display(), item.created_at, item.last_seen_at] for item in members),
        ),
        "convites.csv": _table(
            ["E-mail", "Papel", "Criado em", "Expira em", "Aceito em", "Cancelado em"],
            (
                [item.email, item.get_role_display(), item.created_at, item.expires_at, item.accepted_at, item.cancelled_at]
                for item in invitations
            ),
        ),
        "projetos.csv": _table(
            ["Nome", "Criado em", "Arquivado em"],
            ([item.name, item.created_at, item.archived_at] for item in Project.objects.order_by("id")),
        ),
        "chaves.csv": _table(
            ["Nome", "Começo", "Fim", "Projeto", "Criada por", "Situação", "Criada em", "Expira em", "Revogada em"],
            (
                [
                    key.name, key.prefix, key.suffix, key.project, key.created_by, key.get_status_display(), key.created_at,
                    key.expires_at, key.revoked_at,
                ]
                for key in keys
            ),
        ),
        "registro.csv": _events(events.iterator()),
    }  # fmt: skip


def _business_of(organization: Organization) -> dict[str, bytes]:
    wallet = Wallet.everywhere.filter(organization=organization).first()
    charges = Charge.everywhere.filter(wallet__organization=organization).order_by("created_at")
    invoices = Invoice.everywhere.filter(organization=organization).order_by("id")
    return {
        "saldo.json": _sheet({"disponível": format_brl(wallet.available_nanos if wallet else 0)}),
        "extrato.csv": _rows(organization, Export.Kind.STATEMENT),
        "uso-por-dia.csv": _rows(organization, Export.Kind.USAGE),
        "recargas-pix.csv": _table(
            ["Identificador", "Valor", "Situação", "Criada em"],
            ([item.txid, format_brl(item.amount_nanos), item.get_status_display(), item.created_at] for item in charges),
        ),
        "cartoes.csv": _table(
            ["Bandeira", "Final", "Validade"],
            (
                [item.brand, item.last4, f"{item.exp_month:02d}/{item.exp_year}"]
                for item in Card.everywhere.filter(organization=organization).order_by("id")
            ),
        ),
        "notas.csv": _table(
            ["Número", "Situação", "Valor", "Emitida em"],
            (
                [
                    item.nfse_number or item.number,
                    item.get_status_display(),
                    format_brl(item.amount_centavos * 10_000_000),
                    item.issued_at,
                ]
                for item in invoices
            ),
        ),
        "orcamentos.csv": _table(
            ["De quê", "Janela", "Limite"],
            (
                [item.get_scope_display(), item.get_window_display(), format_brl(item.limit_nanos)]
                for item in Budget.everywhere.filter(organization=organization).order_by("id")
            ),
        ),
        "webhooks.csv": _table(
            ["Nome", "Endereço"],
            ([item.name, item.url] for item in Hook.everywhere.filter(organization=organization).order_by("id")),
        ),
        "chaves-de-provedores.csv": _table(
            ["Provedor", "Nome"],
            (
                [item.provider, item.label]
                for item in OwnKey.everywhere.filter(organization=organization).select_related("provider").order_by("id")
            ),
        ),
    }


def _rows(organization: Organization, kind: Export.Kind) -> bytes:
    """A table of billing's, as its own exports write it. Cut, with a word, where it would be too long for a copy."""
    wanted = Wanted(
        kind=kind, form=Export.Form.SHEET, first_on=organization.created_at.astimezone(clock.SAO_PAULO).date(),
        last_on=clock.today_in_brazil(),
    )  # fmt: skip
    found = bytearray()
    for stretch in write_rows(organization, wanted):
        found += stretch.data
        if len(found) > BYTES_MAX:
            found += "\r\nHá mais linhas. Baixe-as por período em Extrato ou Uso, Exportar.\r\n".encode()
            break
    return bytes(found)


# ── Forms ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _events(events: Iterable[AuditEvent], *, with_organization: bool = False) -> bytes:
    names = (["Empresa"] if with_organization else ["Quem"]) + ["Quando", "O quê", "Detalhes", "IP", "Navegador"]
    return _table(
        names,
        (
            [
                (event.organization or "") if with_organization else (event.user or "Tokia"), event.created_at,
                KINDS.get(event.kind, event.kind), json.dumps(event.detail, ensure_ascii=False) if event.detail else "",
                event.ip or "", event.user_agent,
            ]
            for event in events
        ),
    )  # fmt: skip


def _sheet(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, indent=2, default=_cell).encode()


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(cell) for cell in row])
    return b"\xef\xbb\xbf" + text.getvalue().encode()


def _cell(value: Any) -> str:
    """Text that a spreadsheet takes for text: what people named `=…` is no formula."""
    if value is None:
        return ""
    if hasattr(value, "astimezone"):
        return str(value.astimezone(clock.SAO_PAULO).strftime("%d/%m/%Y %H:%M:%S"))
    text = str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
