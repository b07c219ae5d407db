"""What staff type before an act on an invoice, an issuer or its certificate."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from accounts.forms import IdentityForm
from accounts.models import Organization
from billing.admin_forms import MonthField, ReasonForm
from billing.reais import read_reais
from invoices.models import Invoice, Issuer
from tokia import clock

# TSCodJustCanc and TSCodJustSubst of the national schemas, 1.01.
CANCEL_CODES = [("1", "1 · Erro na emissão"), ("2", "2 · Serviço não prestado"), ("9", "9 · Outros")]
REPLACE_CODES = [
    ("99", "99 · Outros"),
    ("05", "05 · Rejeição pelo tomador ou pelo intermediário"),
    ("01", "01 · Desenquadramento do Simples Nacional"),
    ("02", "02 · Enquadramento no Simples Nacional"),
    ("03", "03 · Inclusão retroativa de imunidade ou isenção"),
    ("04", "04 · Exclusão retroativa de imunidade ou isenção"),
]
PDF_BYTES_MAX = 5_000_000
XML_BYTES_MAX = 2_000_000
PFX_BYTES_MAX = 200_000


class FiscalReasonForm(ReasonForm):
    """A reason that the tax office reads: 15 to 255 characters of Latin-1 (xMotivo)."""

    reason = forms.CharField(
        label="Motivo", min_length=15, max_length=255, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="De 15 a 255 caracteres. Vai para o órgão fiscal e aparece para o tomador.",
    )  # fmt: skip

    def clean_reason(self) -> str:
        reason = " ".join(str(self.cleaned_data["reason"]).split())
        try:
            reason.encode("latin-1")
        except UnicodeEncodeError as error:
            odd = error.object[error.start : error.end]
            raise ValidationError(f"O órgão fiscal não aceita este caractere: {odd}") from None
        if len(reason) < 15:
            raise ValidationError("Escreva pelo menos 15 caracteres.")
        return reason


class CancelForm(FiscalReasonForm):
    """Why a note is cancelled."""

    code = forms.ChoiceField(label="Código do motivo", choices=CANCEL_CODES)


class ReplaceForm(FiscalReasonForm):
    """Why a note is replaced, and by how much where the amount changes."""

    code = forms.ChoiceField(label="Código do motivo", choices=REPLACE_CODES)
    amount = forms.CharField(
        label="Novo valor em reais (vazio: o mesmo)", required=False, max_length=20,
        help_text="Só muda quando parte do dinheiro voltou. Nunca é maior que o da nota.",
    )  # fmt: skip

    def __init__(self, *args: Any, amount_centavos: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.amount_centavos = amount_centavos

    def clean_amount(self) -> int | None:
        """Centavos; None: the same."""
        typed = str(self.cleaned_data["amount"]).strip()
        if not typed:
            return None
        try:
            nanos = read_reais(typed)
        except ValueError:
            raise ValidationError("Digite um valor em reais, como 250,00.") from None
        centavos, rest = divmod(nanos, 10_000_000)
        if rest or not 0 < centavos <= self.amount_centavos:
            raise ValidationError("O valor vai de R$ 0,01 até o da nota, em centavos inteiros.")
        return centavos


class UploadForm(ReasonForm):
    """A note that a person issued at the city's own site."""

    number = forms.CharField(label="Número da nota", max_length=20, required=False)
    access_key = forms.CharField(
        label="Chave de acesso", max_length=50, required=False, help_text="50 caracteres; só da NFS-e nacional."
    )
    xml = forms.FileField(label="XML da nota", required=False, help_text="Sem ele, o PDF e o número bastam.")
    pdf = forms.FileField(label="PDF da nota", required=False)

    def clean_xml(self) -> bytes:
        content = _read(self.cleaned_data["xml"], bytes_max=XML_BYTES_MAX)
        if content and not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            raise ValidationError("Este arquivo não é um XML.")
        return content

    def clean_pdf(self) -> bytes:
        content = _read(self.cleaned_data["pdf"], bytes_max=PDF_BYTES_MAX)
        if content and not content.startswith(b"%PDF-"):
            raise ValidationError("Este arquivo não é um PDF.")
        return content

    def clean_access_key(self) -> str:
        return "".join(str(self.cleaned_data["access_key"]).split()).upper()

    def clean(self) -> dict[str, Any]:
        super().clean()
        typed: dict[str, Any] = self.cleaned_data
        if not typed.get("xml") and not typed.get("pdf") and not self.errors:
            raise ValidationError("Envie o XML ou o PDF da nota.")
        if not typed.get("xml") and not typed.get("number") and not self.errors:
            raise ValidationError("Sem o XML, digite o número da nota.")
        return typed


def _read(file: Any, *, bytes_max: int) -> bytes:
    """The bytes of an uploaded file; none where none was chosen."""
    if file is None:
        return b""
    if file.size > bytes_max:
        raise ValidationError(f"O arquivo passa de {bytes_max // 1_000} kB.")
    content: bytes = file.read()
    return content


class TakerForm(IdentityForm):
    """An organization's particulars, corrected for it; the invoice may go on at once."""

    reissues = forms.BooleanField(label="Reemitir a nota em seguida", required=False, initial=True)
    reason = forms.CharField(
        label="Motivo", max_length=300, min_length=5, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="De onde veio o dado: o pedido da empresa, o cartão do CNPJ.",
    )  # fmt: skip

    def __init__(self, *args: Any, invoice: Invoice, **kwargs: Any) -> None:
        organization = invoice.organization
        kwargs.setdefault("initial", _identity_of(organization))
        super().__init__(*args, **kwargs)
        if invoice.status != Invoice.Status.REJECTED:
            del self.fields["reissues"]
        last = ("reissues", "reason")
        self.order_fields([*(name for name in self.fields if name not in last), *last])


def _identity_of(organization: Organization) -> dict[str, Any]:
    kind, address = organization.tax_id_kind, organization.address
    names = ("name", "trade_name", "invoice_email", "municipal_registration")
    told = {name: getattr(organization, name) for name in names}
    return {"tax_id_kind": kind, kind: organization.tax_id, "reissues": True, **told, **address}


class CertificateForm(ReasonForm):
    """An A1 and its password. Neither is shown again, nor kept in the page after a mistake."""

    issuer = forms.ModelChoiceField(label="Emitente", queryset=Issuer.objects.order_by("-is_active", "name"), empty_label=None)
    pfx = forms.FileField(label="Arquivo do certificado (.pfx ou .p12)")
    password = forms.CharField(
        label="Senha do arquivo", max_length=200, strip=False,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"}),
    )  # fmt: skip

    def clean_pfx(self) -> bytes:
        return _read(self.cleaned_data["pfx"], bytes_max=PFX_BYTES_MAX)


class TokenForm(ReasonForm):
    """The token of Focus NFe: it goes in and never comes out."""

    token = forms.CharField(
        label="Token da Focus NFe", max_length=200,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"}),
    )  # fmt: skip


class NextNumberForm(ReasonForm):
    """Where a series goes on, after another system used it."""

    next_number = forms.IntegerField(label="Próximo número", min_value=1, max_value=999_999_999_999_999)


class ArchiveForm(forms.Form):
    """A month of notes as one file, for the accountant."""

    month = MonthField(label="Mês dos fatos")
    issuer = forms.ModelChoiceField(label="Emitente", queryset=Issuer.objects.order_by("-is_active", "name"), empty_label=None)
    has_pdfs = forms.BooleanField(
        label="Com os PDF", required=False, help_text="Demora: cada um é desenhado na hora. Para o contador os XML bastam."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        today = clock.today_in_brazil()
        self.fields["month"].initial = f"{today.replace(day=1) - dt.timedelta(days=1):%Y-%m}"
