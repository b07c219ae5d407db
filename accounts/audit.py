"""The audit log: who did what, when and from where. `note` writes it in the transaction of the act: both happen, or neither.

Secrets are never in it: what looks like one is masked before it is written. Where the address isn't given, it is that of the
request at work (`accounts.middleware`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.utils.translation import gettext, gettext_noop, override

from accounts.models import AuditEvent, Organization, User
from tokia import clock

# What a person reads for each kind. A kind that isn't here can't be noted: a typing mistake must not hide an event from a filter.
# Portuguese, as files have them; a page shows them in its reader's language.
KINDS: dict[str, str] = {
    "signed_in": gettext_noop("Entrou na conta"),
    "signed_in_elsewhere": gettext_noop("Entrou de um aparelho novo"),
    "sign_in_failed": gettext_noop("Senha ou código errado ao entrar"),
    "signed_out": gettext_noop("Saiu da conta"),
    "session_ended": gettext_noop("Encerrou um acesso"),
    "signed_up": gettext_noop("Criou a conta"),
    "password_changed": gettext_noop("Trocou a senha"),
    "password_reset": gettext_noop("Criou nova senha pelo e-mail"),
    "mfa_added": gettext_noop("Ligou um segundo fator"),
    "mfa_removed": gettext_noop("Removeu um segundo fator"),
    "recovery_codes_made": gettext_noop("Gerou códigos de recuperação"),
    "recovery_code_used": gettext_noop("Entrou com código de recuperação"),
    "mfa_demanded": gettext_noop("Passou a exigir verificação em duas etapas"),
    "mfa_not_demanded": gettext_noop("Deixou de exigir verificação em duas etapas"),
    "social_connected": gettext_noop("Ligou uma conta Google ou GitHub"),
    "social_disconnected": gettext_noop("Desligou uma conta Google ou GitHub"),
    "personal_data_changed": gettext_noop("Mudou os próprios dados"),
    "organization_opened": gettext_noop("Criou a empresa"),
    "fiscal_data_changed": gettext_noop("Mudou os dados da empresa"),
    "member_invited": gettext_noop("Convidou uma pessoa"),
    "invitation_cancelled": gettext_noop("Cancelou um convite"),
    "member_joined": gettext_noop("Aceitou um convite"),
    "member_removed": gettext_noop("Removeu uma pessoa da equipe"),
    "role_changed": gettext_noop("Mudou o papel de uma pessoa"),
    "key_created": gettext_noop("Criou uma chave"),
    "key_changed": gettext_noop("Mudou uma chave"),
    "key_rotated": gettext_noop("Trocou o segredo de uma chave"),
    "key_paused": gettext_noop("Pausou uma chave"),
    "key_resumed": gettext_noop("Reativou uma chave"),
    "key_revoked": gettext_noop("Revogou uma chave"),
    "own_key_added": gettext_noop("Guardou a chave de um provedor"),
    "own_key_changed": gettext_noop("Mudou o uso da chave de um provedor"),
    "own_key_removed": gettext_noop("Removeu a chave de um provedor"),
    "budget_set": gettext_noop("Definiu um orçamento"),
    "budget_ended": gettext_noop("Encerrou um orçamento"),
    "limits_changed": gettext_noop("Mudou limites"),
    "alerts_changed": gettext_noop("Mudou avisos"),
    "hook_created": gettext_noop("Criou um webhook"),
    "hook_changed": gettext_noop("Mudou um webhook"),
    "hook_secret_changed": gettext_noop("Trocou o segredo de um webhook"),
    "hook_removed": gettext_noop("Removeu um webhook"),
    "project_created": gettext_noop("Criou um projeto"),
    "project_archived": gettext_noop("Arquivou um projeto"),
    "project_restored": gettext_noop("Restaurou um projeto"),
    "card_removed": gettext_noop("Removeu um cartão"),
    "auto_top_up_changed": gettext_noop("Mudou a recarga automática"),
    "refund_asked": gettext_noop("Pediu uma devolução"),
    "export_asked": gettext_noop("Pediu um arquivo"),
    "personal_data_exported": gettext_noop("Pediu uma cópia dos próprios dados"),
    "organization_data_exported": gettext_noop("Pediu uma cópia dos dados da empresa"),
    "organization_suspended": gettext_noop("Empresa suspensa pela Tokia"),
    "organization_reactivated": gettext_noop("Empresa reativada pela Tokia"),
    "account_closing_asked": gettext_noop("Pediu para excluir a conta"),
    "account_closing_cancelled": gettext_noop("Desistiu de excluir a conta"),
    "account_closed": gettext_noop("Conta excluída"),
    "organization_closing_asked": gettext_noop("Pediu para encerrar a empresa"),
    "organization_closing_cancelled": gettext_noop("Desistiu de encerrar a empresa"),
    "organization_closed": gettext_noop("Empresa encerrada"),
    "impersonation_started": gettext_noop("A Tokia passou a ver como a empresa"),
    "impersonation_ended": gettext_noop("A Tokia deixou de ver como a empresa"),
    "impersonation_refused": gettext_noop("A Tokia tentou mudar algo vendo como a empresa"),
    "prices_changed": gettext_noop("Mudou preços"),
    "flag_changed": gettext_noop("Mudou uma função experimental"),
    "adjusted_by_staff": gettext_noop("Ajuste feito pela Tokia"),
}
TEXT_MAX = 300
_SECRET_NAMES = re.compile(r"password|passwd|secret|senha|token|credential|private|api_?key$|recovery_codes?$", re.IGNORECASE)
_SECRET_TEXTS = re.compile(r"(sk-|whsec_|otpauth:)[A-Za-z0-9_\-]{12,}")
_MASK = "••••"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from, and in whose name. `acted_by`: the e-mail of our own person who sees as somebody else.

    `user_of` is asked when something is noted: who is signed in changes within a request. `key`: the API key that asked.
    """

    ip: str = ""
    user_agent: str = ""
    acted_by: str = ""
    user_of: Callable[[], User | None] | None = None
    key: str = ""


_origin: ContextVar[Origin | None] = ContextVar("origin", default=None)


@contextmanager
def acting_key(user: User, *, key: str) -> Iterator[None]:
    """What is noted inside was asked by this key, in the name of the person who made it."""
    with origin(replace(_origin.get() or Origin(), user_of=lambda: user, key=key)):
        yield


@contextmanager
def origin(found: Origin) -> Iterator[None]:
    """What is noted inside was asked from there."""
    token = _origin.set(found)
    try:
        yield
    finally:
        _origin.reset(token)


def note(
    kind: str, *, organization: Organization | None, user: User | None, detail: Mapping[str, Any] | None = None, ip: str = ""
) -> AuditEvent:
    """One more line. `organization` is None for what concerns a person alone, `user` for what nobody signed in did.

    Raises KeyError for a kind that isn't in KINDS.
    """
    _ = KINDS[kind]
    where = _origin.get() or Origin()
    with override(settings.LANGUAGE_CODE):  # a row is kept for all its readers: labels in it are Portuguese
        told = clean(detail or {})
    if where.acted_by:
        told["acted_by"] = where.acted_by
    if where.key:
        told["via"] = where.key
    return AuditEvent.everywhere.create(
        organization=organization,
        user=user,
        kind=kind,
        detail=told,
        ip=_address(ip or where.ip),
        user_agent=describe_browser(where.user_agent),
        created_at=clock.now(),
    )


def act(kind: str, *, organization: Organization, detail: Mapping[str, Any] | None = None) -> AuditEvent:
    """As `note`, for verbs: whoever the request at work is of did it; nobody where a task or a command did."""
    user_of = (_origin.get() or Origin()).user_of
    return note(kind, organization=organization, user=user_of() if user_of else None, detail=detail)


def note_everywhere(kind: str, *, user: User, detail: Mapping[str, Any] | None = None, ip: str = "") -> None:
    """What concerns a person, told in the log of each organization where they work: their owners answer for who gets in."""
    homes: list[Organization | None] = [*Organization.objects.filter(memberships__user=user).order_by("id")]
    for organization in homes or [None]:
        note(kind, organization=organization, user=user, detail=detail, ip=ip)


def clean(detail: Mapping[str, Any]) -> dict[str, Any]:
    """What may be kept of it: short, and without anything that looks like a secret."""
    return {str(name): _MASK if _SECRET_NAMES.search(str(name)) else _clean_value(value) for name, value in detail.items()}


def _clean_value(value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return clean(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean_value(item) for item in list(value)[:50]]
    return _SECRET_TEXTS.sub(_MASK, str(value))[:TEXT_MAX]


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


# A browser says it is several; the first that fits is the true one.
_BROWSERS = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser", "Samsung Internet"), ("Firefox/", "Firefox"), ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"), ("Chrome/", "Chrome"), ("Safari/", "Safari"),
)  # fmt: skip
_SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("CrOS", "ChromeOS"), ("Windows", "Windows"),
    ("Mac OS X", "macOS"), ("Linux", "Linux"),
)  # fmt: skip


def describe_browser(user_agent: str) -> str:
    """“Chrome no Windows”; a program keeps the first word of what it calls itself."""
    if not user_agent.strip():
        return ""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    if browser and system:
        return f"{browser} no {system}"
    return browser or system or user_agent.split(" ")[0][:60]


def show_browser(described: str) -> str:
    """What `describe_browser` gave, and rows keep, in the reader's language."""
    browser, joined, system = described.partition(" no ")
    return gettext("{browser} no {system}").format(browser=browser, system=system) if joined else described
