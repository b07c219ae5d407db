"""What a person types to sign in with a second factor, and what they say of themselves."""

from __future__ import annotations

from typing import Any

from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.webauthn.forms import AddWebAuthnForm
from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from accounts import audit
from accounts.models import User


class SecondFactorForm(AuthenticateForm):  # type: ignore[misc]
    """The code at the door; a wrong one is noted."""

    user: User

    def clean_code(self) -> str:
        try:
            return str(super().clean_code())
        except ValidationError:
            audit.note_everywhere("sign_in_failed", user=self.user, detail={"how": gettext_noop("código da segunda etapa")})
            raise


class SecondFactorAgainForm(ReauthenticateForm):  # type: ignore[misc]
    """The code before something that matters; a wrong one is noted."""

    user: User

    def clean_code(self) -> str:
        try:
            return str(super().clean_code())
        except ValidationError:
            audit.note_everywhere("sign_in_failed", user=self.user, detail={"how": gettext_noop("código para confirmar")})
            raise


class PasskeyForm(AddWebAuthnForm):  # type: ignore[misc]
    """A passkey signs in alone, so the device itself must ask for a finger, a face or a PIN: always, not where it is ticked."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields.pop("passwordless", None)
        self.fields["name"].label = gettext("Nome")
        self.fields["name"].max_length = 60
        self.fields["name"].help_text = gettext("Para você reconhecer depois: “Celular”, “Notebook do trabalho”.")

    def clean(self) -> dict[str, Any]:
        self.cleaned_data["passwordless"] = True
        return dict(super().clean() or {})


class PersonForm(forms.Form):
    name = forms.CharField(label=_("Nome"), max_length=150, required=False, widget=forms.TextInput(attrs={"autocomplete": "name"}))
