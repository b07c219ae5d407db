"""What a person may type on the pages of accounts."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, cast

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import Q
from django.db.models.functions import Lower
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from accounts.errors import AccountsError, InvalidTaxId, UnknownCity
from accounts.keys import KeyChanges, new_scopes
from accounts.models import ApiKey, Membership, Organization, Project, Role, User
from accounts.scopes import CALL, SCOPES, Scope, check_scopes, scopes_of
from accounts.signup import Identity, check_city
from accounts.tax_ids import parse_cnpj, parse_cpf
from tokia import clock

INVITED_AT_ONCE_MAX = 20
ROUTE = re.compile(r"[a-z0-9][a-z0-9.-]*/[a-z0-9][a-z0-9._:-]*", re.ASCII)
STATES = [
    "AC", "AL", "AP", "AM", "BA", "CE", "DF", "ES", "GO", "MA", "MT", "MS", "MG", "PA",
    "PB", "PR", "PE", "PI", "RJ", "RN", "RS", "RO", "RR", "SC", "SP", "SE", "TO",
]  # fmt: skip
ADDRESS = {
    "street": (_("Logradouro"), 150), "number": (_("Número"), 20), "complement": (_("Complemento"), 150),
    "district": (_("Bairro"), 150), "city": (_("Município"), 150), "postal_code": (_("CEP"), 9),
}  # fmt: skip
# What `accounts.tax_ids` says: it is pure, so its words are marked here.
TAX_ID_REFUSALS = (gettext_noop("CNPJ inválido. Confira os 14 caracteres."), gettext_noop("CPF inválido. Confira os 11 números."))


class SignupTermsForm(forms.Form):
    """What allauth's sign-up form adds to e-mail and password."""

    terms = forms.BooleanField(
        label=_("Li e aceito os Termos de Uso e a Política de Privacidade."),
        error_messages={"required": _("Para criar a conta é preciso aceitar os termos.")},
    )

    def signup(self, request: HttpRequest, user: User) -> None:
        user.accepted_terms_at = clock.now()
        user.save(update_fields=["accepted_terms_at"])


class IdentityForm(forms.Form):
    """Who the organization is. Everything but the name may come later; a tax id that is given must be right."""

    tax_id_kind = forms.ChoiceField(
        label=_("Documento"),
        choices=[("cnpj", _("Empresa (CNPJ)")), ("cpf", _("Pessoa física (CPF)"))],
        widget=forms.RadioSelect,
        initial=Organization.TaxIdKind.CNPJ,
    )
    cnpj = forms.CharField(label=_("CNPJ"), required=False, max_length=18)
    cpf = forms.CharField(label=_("CPF"), required=False, max_length=14)
    name = forms.CharField(label=_("Razão social ou nome completo"), max_length=150)
    trade_name = forms.CharField(label=_("Nome fantasia"), required=False, max_length=150)
    invoice_email = forms.EmailField(label=_("E-mail para notas"), required=False)
    municipal_registration = forms.CharField(label=_("Inscrição municipal"), required=False, max_length=20)
    state = forms.ChoiceField(label=_("UF"), required=False, choices=[("", "—"), *((state, state) for state in STATES)])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (label, length) in ADDRESS.items():
            self.fields[name] = forms.CharField(label=label, required=False, max_length=length)
        self.fields["cnpj"].widget.attrs.update(
            {"data-mask": "cnpj", "placeholder": "00.000.000/0000-00", "autocomplete": "off", "autocapitalize": "characters"}
        )
        self.fields["cpf"].widget.attrs.update(
            {"data-mask": "cpf", "placeholder": "000.000.000-00", "autocomplete": "off", "inputmode": "numeric"}
        )
        self.fields["postal_code"].widget.attrs.update({"data-mask": "cep", "inputmode": "numeric", "autocomplete": "postal-code"})
        self.fields["name"].widget.attrs["autocomplete"] = "organization"

    @classmethod
    def of(cls, organization: Organization) -> IdentityForm:
        kind = organization.tax_id_kind
        initial = {
            "tax_id_kind": kind,
            kind: organization.tax_id,
            "name": organization.name,
            "trade_name": organization.trade_name,
            "invoice_email": organization.invoice_email,
            "municipal_registration": organization.municipal_registration,
        }
        return cls(initial=initial | organization.address)

    def clean_cnpj(self) -> str:
        return self._parsed("cnpj")

    def clean_cpf(self) -> str:
        return self._parsed("cpf")

    def _parsed(self, kind: str) -> str:
        typed = str(self.cleaned_data.get(kind, ""))
        if self.data.get("tax_id_kind", "cnpj") != kind or not typed.strip():
            return ""
        try:
            return parse_cnpj(typed) if kind == "cnpj" else parse_cpf(typed)
        except InvalidTaxId as error:
            raise ValidationError(gettext(error.message)) from error

    def clean_postal_code(self) -> str:
        digits = re.sub(r"\D", "", str(self.cleaned_data.get("postal_code", "")))
        if digits and len(digits) != 8:
            raise ValidationError(gettext("O CEP tem 8 números."))
        return digits

    def clean(self) -> dict[str, Any]:
        typed = self.cleaned_data
        city, state = typed.get("city", ""), typed.get("state", "")
        if city and not state:
            self.add_error("state", gettext("Escolha a UF do município."))
        try:
            check_city(city, state)
        except UnknownCity as error:
            self.add_error("city", error.message)
        return typed

    def identity(self) -> Identity:
        typed = self.cleaned_data
        return Identity(
            name=typed["name"],
            tax_id=typed[typed["tax_id_kind"]],
            tax_id_kind=typed["tax_id_kind"],
            trade_name=typed["trade_name"],
            invoice_email=typed["invoice_email"],
            municipal_registration=typed["municipal_registration"],
            address={name: typed[name] for name in (*ADDRESS, "state")},
        )


class KeyForm(forms.Form):
    """A new key. Models are names only: a name that is not sold (any more) never matches a call."""

    EXPIRIES = (("", _("Nunca")), ("30", _("Em 30 dias")), ("90", _("Em 90 dias")), ("365", _("Em 1 ano")))
    CACHES = (("", _("Não")), ("300", _("Por 5 minutos")), ("3600", _("Por 1 hora")), ("86400", _("Por 1 dia")))

    name = forms.CharField(
        label=_("Nome"), max_length=60, help_text=_("Para reconhecer depois: “produção”, “n8n”, “notebook da Ana”.")
    )
    project = forms.ModelChoiceField(Project.everywhere.none(), label=_("Projeto"), required=False, empty_label=_("Nenhum"))
    expires_in = forms.ChoiceField(label=_("Expira"), choices=EXPIRIES, required=False)
    requests_per_minute = forms.IntegerField(label=_("Requisições por minuto"), required=False, min_value=1, max_value=100_000)
    tokens_per_minute = forms.IntegerField(label=_("Tokens por minuto"), required=False, min_value=1, max_value=1_000_000_000)
    concurrent_calls = forms.IntegerField(label=_("Chamadas ao mesmo tempo"), required=False, min_value=1, max_value=10_000)
    cache_seconds = forms.TypedChoiceField(
        label=_("Repetir respostas de chamadas iguais"), choices=CACHES, required=False, coerce=int, empty_value=None,
        help_text=_("Chamadas iguais da sua empresa recebem a mesma resposta, na hora e de graça. Ela fica cifrada."),
    )  # fmt: skip
    stores_responses = forms.BooleanField(
        required=False,
        help_text=_(
            "Para o AI SDK da Vercel como vem de fábrica: na segunda mensagem ele cita a resposta anterior só pelo id, e sem"
            " isto recebe 404."
        ),
    )
    allowed_routes = forms.CharField(required=False)  # checkboxes of the page; read from the list of values
    scopes = forms.CharField(required=False)  # checkboxes too; without any and without `scopes_shown`: as it was
    scopes_shown = forms.BooleanField(required=False, widget=forms.HiddenInput, initial=True)

    def __init__(self, *args: Any, by: Membership, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.by = by
        self.key: ApiKey | None = None
        self.fields["name"].widget.attrs.update({"autocomplete": "off", "placeholder": gettext("produção")})
        for name in ("requests_per_minute", "tokens_per_minute", "concurrent_calls"):
            self.fields[name].widget.attrs.update({"inputmode": "numeric", "placeholder": gettext("sem limite próprio")})
        days = settings.RESPONSES_TTL_DAYS
        label = gettext("Guardar respostas de /v1/responses por padrão ({days} dias, cifradas)")
        self.fields["stores_responses"].label = label.format(days=days)
        self._offer_projects(Q(archived_at=None))

    def _offer_projects(self, which: Q) -> None:
        projects = Project.everywhere.filter(which, organization=self.by.organization).order_by(Lower("name"))
        self.fields["project"].queryset = projects  # type: ignore[attr-defined]

    @property
    def scope_choices(self) -> list[tuple[Scope, bool]]:
        """What the page offers to tick, and whether it is ticked."""
        kept = self.key.scopes if self.key else [CALL]
        ticked = self._listed("scopes") if self.is_bound else kept
        is_own = self.key is None or self.key.created_by_id == self.by.user_id
        allowed = scopes_of(self.by) if is_own else frozenset({CALL})  # `new_scopes`: a key manages in its maker's name
        return [(scope, name in ticked) for name, scope in SCOPES.items() if name in allowed or name in kept]

    def _listed(self, name: str) -> list[str]:
        getlist = getattr(self.data, "getlist", None)
        return [value for value in (getlist(name) if getlist else []) if value]

    def clean_name(self) -> str:
        return str(self.cleaned_data["name"]).strip()

    def clean_allowed_routes(self) -> list[str]:
        names = self._listed("allowed_routes")
        if len(names) > 500 or any(len(name) > 100 or not ROUTE.fullmatch(name) for name in names):
            raise ValidationError(gettext("Escolha os modelos na lista."))
        return names

    def clean_scopes(self) -> list[str]:
        wanted = self._listed("scopes")
        if not wanted and "scopes_shown" not in self.data:
            return list(self.key.scopes) if self.key else [CALL]
        try:
            if self.key is None:
                return check_scopes(wanted, allowed=scopes_of(self.by))
            return new_scopes(self.key, wanted, by=self.by.user, allowed=scopes_of(self.by))
        except AccountsError as error:
            raise ValidationError(error.message) from error

    def expires_at(self) -> dt.datetime | None:
        days = self.cleaned_data["expires_in"]
        return clock.now() + dt.timedelta(days=int(days)) if days else None


class KeyChangeForm(KeyForm):
    """What may change of a key that is in use. What it has and is no choice here, a setting of the admin or an archived project,
    is kept."""

    CHANGES = (
        "name", "project", "requests_per_minute", "tokens_per_minute", "concurrent_calls", "cache_seconds", "stores_responses",
    )  # fmt: skip

    def __init__(self, *args: Any, by: Membership, key: ApiKey, **kwargs: Any) -> None:
        initial = {name: getattr(key, name) for name in self.CHANGES}
        super().__init__(*args, by=by, initial=initial, **kwargs)
        self.key = key
        self._offer_projects(Q(archived_at=None) | Q(pk=key.project_id))
        del self.fields["expires_in"]
        kept = key.cache_seconds
        if kept and str(kept) not in dict(self.CACHES):
            choices = [*self.CACHES, (str(kept), gettext("Por {seconds} segundos").format(seconds=kept))]
            self.fields["cache_seconds"].choices = choices  # type: ignore[attr-defined]

    def changes(self) -> KeyChanges:
        names = (*self.CHANGES, "allowed_routes", "scopes")
        return cast(KeyChanges, {name: self.cleaned_data[name] for name in names})


class InviteForm(forms.Form):
    """One invitation per address; addresses are parted by commas, spaces or lines."""

    emails = forms.CharField(label=_("E-mails"), max_length=4_000, widget=forms.Textarea(attrs={"rows": 2}))
    role = forms.ChoiceField(label=_("Papel"), choices=Role.choices, initial=Role.DEVELOPER)

    def __init__(self, *args: Any, by: Membership, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"].choices = role_choices(by)  # type: ignore[attr-defined]
        self.fields["emails"].widget.attrs.update(
            {"autocomplete": "off", "placeholder": gettext("ana@empresa.com.br, bia@empresa.com.br")}
        )

    def clean_emails(self) -> list[str]:
        typed = [part.lower() for part in re.split(r"[\s,;]+", str(self.cleaned_data["emails"])) if part]
        emails = list(dict.fromkeys(typed))
        if not emails:
            raise ValidationError(gettext("Escreva pelo menos um e-mail."))
        if len(emails) > INVITED_AT_ONCE_MAX:
            raise ValidationError(gettext("Convide até {count} pessoas de cada vez.").format(count=INVITED_AT_ONCE_MAX))
        for email in emails:
            try:
                validate_email(email)
            except ValidationError:
                text = gettext("“{email}” não é um e-mail. Nenhum convite foi enviado.")
                raise ValidationError(text.format(email=email[:80])) from None
        return emails


def role_choices(by: Membership) -> list[tuple[str, str]]:
    """The roles that this member may give."""
    return [(str(value), str(label)) for value, label in Role.choices if by.role == Role.OWNER or value != Role.OWNER]
