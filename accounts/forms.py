from __future__ import annotations

from typing import Any

from django import forms


class SignupTermsForm(forms.Form):
    def signup(self, request: Any, user: Any) -> None: ...
