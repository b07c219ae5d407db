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

from accounts.models import AuditEvent, Organization, User
from tokia import clock

# What a person reads for each kind. A kind that isn't here can't be noted: a typing mistake must not hide an event from a filter.
KINDS: dict[str, str] = {
    "signed_in": "Entrou na conta",
    "signed_in_elsewhere": "Entrou de um aparelho novo",
    "sign_in_failed": "Senha ou código errado ao entrar",
    "signed_out": "Saiu da conta",
    "session_ended": "Encerrou um acesso",
    "signed_up": "Criou a conta",
    "password_changed": "Trocou a senha",
    "password_reset": "Criou nova senha pelo e-mail",
    "mfa_added": "Ligou um segundo fator",
    "mfa_removed": "Removeu um segundo fator",
    "recovery_codes_made": "Gerou códigos de recuperação",
    "recovery_code_used": "Entrou com código de recuperação",
    "mfa_demanded": "Passou a exigir verificação em duas etapas",
    "mfa_not_demanded": "Deixou de exigir verificação em duas etapas",
    "social_connected": "Ligou uma conta Google ou GitHub",
    "social_disconnected": "Desligou uma conta Google ou GitHub",
    "personal_data_changed": "Mudou os próprios dados",
    "organization_opened": "Criou a empresa",
    "fiscal_data_changed": "Mudou os dados da empresa",
    "member_invited": "Convidou uma pessoa",
    "invitation_cancelled": "Cancelou um convite",
    "member_joined": "Aceitou um convite",
    "member_removed": "Removeu uma pessoa da equipe",
    "role_changed": "Mudou o papel de uma pessoa",
    "key_created": "Criou uma chave",
    "key_changed": "Mudou uma chave",
    "key_rotated": "Trocou o segredo de uma chave",
    "key_paused": "Pausou uma chave",
    "key_resumed": "Reativou uma chave",
    "key_revoked": "Revogou uma chave",
    "own_key_added": "Guardou a chave de um provedor",
    "own_key_changed": "Mudou o uso da chave de um provedor",
    "own_key_removed": "Removeu a chave de um provedor",
    "budget_set": "Definiu um orçamento",
    "budget_ended": "Encerrou um orçamento",
    "limits_changed": "Mudou limites",
    "alerts_changed": "Mudou avisos",
    "hook_created": "Criou um webhook",
    "hook_changed": "Mudou um webhook",
    "hook_secret_changed": "Trocou o segredo de um webhook",
    "hook_removed": "Removeu um webhook",
    "project_created": "Criou um projeto",
    "project_archived": "Arquivou um projeto",
    "project_restored": "Restaurou um projeto",
    "card_removed": "Removeu um cartão",
    "auto_top_up_changed": "Mudou a recarga automática",
    "refund_asked": "Pediu uma devolução",
    "export_asked": "Pediu um arquivo",
    "personal_data_exported": "Pediu uma cópia dos próprios dados",
    "organization_data_exported": "Pediu uma cópia dos dados da empresa",
    "organization_suspended": "Empresa suspensa pela Tokia",
    "organization_reactivated": "Empresa reativada pela Tokia",
    "account_closing_asked": "Pediu para excluir a conta",
    "account_closing_cancelled": "Desistiu de excluir a conta",
    "account_closed": "Conta excluída",
    "organization_closing_asked": "Pediu para encerrar a empresa",
    "organization_closing_cancelled": "Desistiu de encerrar a empresa",
    "organization_closed": "Empresa encerrada",
    "impersonation_started": "A Tokia passou a ver como a empresa",
    "impersonation_ended": "A Tokia deixou de ver como a empresa",
    "impersonation_refused": "A Tokia tentou mudar algo vendo como a empresa",
    "prices_changed": "Mudou preços",
    "flag_changed": "Mudou uma função experimental",
    "adjusted_by_staff": "Ajuste feito pela Tokia",
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
