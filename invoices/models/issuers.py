"""Who issues, by which rules, with which certificate and numbers. Of dated rows the newest that began is in force."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

SIMPLES_ASSESSMENTS = [("1", "Tudo pelo Simples"), ("2", "ISS por fora"), ("3", "Tudo por fora")]
SERIES_MAX = 49_999  # above: the public web emitters' own (E0010)
digits = RegexValidator(r"^[0-9]*$", "Só números.")


class Issuer(models.Model):
    """The prestador: our own company as the city knows it. One is active; an old one keeps its invoices."""

    class Environment(models.TextChoices):
        PRODUCTION = "1", "Produção"
        RESTRICTED = "2", "Produção restrita"  # the tax office's own place for trials: no fiscal value

    class Channel(models.TextChoices):
        SEFIN = "sefin", "Sefin Nacional"
        FOCUS = "focus", "Focus NFe"  # for cities with an emitter of their own
        MANUAL = "manual", "Manual"  # a person issues at the city's site and uploads the document

    class Signature(models.TextChoices):
        SHA256_EXCLUSIVE = "rsa-sha256-exc", "RSA-SHA256, C14N exclusiva"
        SHA256_INCLUSIVE = "rsa-sha256-c14n", "RSA-SHA256, C14N 1.0"
        SHA1_INCLUSIVE = "rsa-sha1-c14n", "RSA-SHA1, C14N 1.0 (a do manual)"

    name = models.CharField("razão social", max_length=150)
    tax_id = models.CharField("CNPJ", max_length=14)  # bare, upper-case, with letters since July 2026
    municipal_registration = models.CharField("inscrição municipal", max_length=15, blank=True)
    # Whether the DPS names it: only where the city's register has it (E0116 asks for it, E0120 refuses it).
    sends_municipal_registration = models.BooleanField("informar a inscrição municipal", default=False)
    city_code = models.CharField("município (código IBGE)", max_length=7, validators=[RegexValidator(r"^[0-9]{7}$")])
    channel = models.CharField("canal", max_length=6, choices=Channel.choices, default=Channel.SEFIN)
    environment = models.CharField("ambiente", max_length=1, choices=Environment.choices, default=Environment.RESTRICTED)
    series = models.PositiveIntegerField("série", default=1, validators=[MinValueValidator(1), MaxValueValidator(SERIES_MAX)])
    signature = models.CharField("assinatura", max_length=15, choices=Signature.choices, default=Signature.SHA256_EXCLUSIVE)
    focus_token = models.BinaryField(null=True, blank=True, editable=False)  # sealed (`tokia.sealing`)
    is_active = models.BooleanField("ativo", default=True)
    # The last NSU that was read of the national distribution of documents: what happened to our notes elsewhere.
    last_nsu = models.BigIntegerField("último NSU lido", default=0, editable=False)
    created_at = models.DateTimeField("criado em", auto_now_add=True)

    class Meta:
        verbose_name = "emitente"
        verbose_name_plural = "emitentes"
        constraints = [
            models.UniqueConstraint(fields=["is_active"], condition=Q(is_active=True), name="issuer_one_active"),
            models.CheckConstraint(condition=Q(tax_id__regex=r"^[0-9A-Z]{12}[0-9]{2}$"), name="issuer_tax_id"),
            models.CheckConstraint(condition=Q(series__gte=1) & Q(series__lte=SERIES_MAX), name="issuer_series"),
        ]

    def __str__(self) -> str:
        return self.name


class TaxTerms(models.Model):
    """What an issuer's documents say of taxes from a day on (of issue). Rates are hundredths of a percent.

    Engineering defaults: the issuer's accountant decides. Nothing of it is a constant in the code.
    """

    class Regime(models.TextChoices):  # opSimpNac
        NORMAL = "1", "Não optante (Lucro Presumido ou Real)"
        MEI = "2", "MEI"
        SIMPLES = "3", "Simples Nacional (ME/EPP)"

    issuer = models.ForeignKey(Issuer, models.PROTECT, related_name="terms", verbose_name="emitente")
    starts_on = models.DateField("a partir de")
    regime = models.CharField("regime", max_length=1, choices=Regime.choices)
    simples_assessment = models.CharField(  # regApTribSN, only of ME/EPP (E0162, E0166)
        "apuração do Simples",
        max_length=1,
        blank=True,
        choices=SIMPLES_ASSESSMENTS,
    )
    special_regime = models.CharField("regime especial", max_length=1, default="0", validators=[digits])  # regEspTrib; 0: none
    service_code = models.CharField("código de tributação nacional", max_length=6, default="010301")  # cTribNac
    city_service_code = models.CharField("código de tributação municipal", max_length=3, blank=True)  # cTribMun
    nbs_code = models.CharField("NBS", max_length=9, default="115062100")
    operation_code = models.CharField("cIndOp", max_length=6, default="100301")
    tax_situation = models.CharField("CST do IBS/CBS", max_length=3, default="000")
    tax_class = models.CharField("cClassTrib", max_length=6, default="000001")
    # IBSCBS goes on documents issued from this day on; empty: on none.
    ibscbs_from_on = models.DateField("grupo IBS/CBS a partir de", null=True, blank=True)
    iss_bps = models.PositiveSmallIntegerField(
        "alíquota do ISS (centésimos de %)", null=True, blank=True
    )  # pAliq, where it is sent
    pis_cofins_situation = models.CharField("CST do PIS/COFINS", max_length=2, blank=True)  # empty: no such group
    pis_bps = models.PositiveSmallIntegerField("PIS (centésimos de %)", default=0)
    cofins_bps = models.PositiveSmallIntegerField("COFINS (centésimos de %)", default=0)
    # Law 12.741: the share of taxes in the price.
    federal_bps = models.PositiveSmallIntegerField("tributos federais (centésimos de %)", default=0)
    state_bps = models.PositiveSmallIntegerField("tributos estaduais (centésimos de %)", default=0)
    city_bps = models.PositiveSmallIntegerField("tributos municipais (centésimos de %)", default=0)
    simples_bps = models.PositiveSmallIntegerField("alíquota nominal do Simples (centésimos de %)", default=0)
    # {period}, {organization}, {number}: what is filled in.
    description = models.TextField(
        "descrição do serviço", max_length=900,
        default="Processamento de dados por API de modelos de linguagem. {period}",
    )  # fmt: skip

    class Meta:
        verbose_name = "regra fiscal"
        verbose_name_plural = "regras fiscais"
        ordering = ["issuer", "-starts_on"]
        constraints = [models.UniqueConstraint(fields=["issuer", "starts_on"], name="tax_terms_once")]

    def __str__(self) -> str:
        return f"{self.get_regime_display()} desde {self.starts_on:%d/%m/%Y}"


class InvoicePolicy(models.Model):
    """What is invoiced from a day on. The day is the cut-over: consumption and top-ups before it belong to the policy before.

    A top-up that was invoiced as it came is not invoiced again when it is consumed: after a change to MONTHLY what is left of such
    top-ups is consumed first.
    """

    class Kind(models.TextChoices):
        MONTHLY = "monthly_consumption", "Consumo do mês"
        TOP_UP = "per_topup", "Cada recarga"

    issuer = models.ForeignKey(Issuer, models.PROTECT, related_name="policies", verbose_name="emitente")
    starts_on = models.DateField("a partir de")  # the first of a month
    kind = models.CharField("o que se fatura", max_length=20, choices=Kind.choices)

    class Meta:
        verbose_name = "política de faturamento"
        verbose_name_plural = "políticas de faturamento"
        ordering = ["issuer", "-starts_on"]
        constraints = [
            models.UniqueConstraint(fields=["issuer", "starts_on"], name="invoice_policy_once"),
            models.CheckConstraint(condition=Q(starts_on__day=1), name="invoice_policy_from_a_first"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} desde {self.starts_on:%d/%m/%Y}"


class Certificate(models.Model):
    """An ICP-Brasil A1 of an issuer. File and password are sealed (`tokia.sealing`); the newest active one signs."""

    issuer = models.ForeignKey(Issuer, models.PROTECT, related_name="certificates", verbose_name="emitente")
    pfx = models.BinaryField(editable=False)  # PKCS#12, sealed
    password = models.BinaryField(editable=False)  # sealed
    subject = models.CharField("titular", max_length=200)
    tax_id = models.CharField("CNPJ do certificado", max_length=14)  # OID 2.16.76.1.3.3
    serial_number = models.CharField("nº de série", max_length=60)
    starts_at = models.DateTimeField("válido desde")
    ends_at = models.DateTimeField("válido até")
    is_active = models.BooleanField("em uso", default=True)
    warned_days = models.PositiveSmallIntegerField(
        "avisado a", null=True, blank=True, editable=False
    )  # 30, 15, 5, 0: the last warning
    uploaded_by = models.CharField("enviado por", max_length=150, blank=True)
    created_at = models.DateTimeField("enviado em", auto_now_add=True)

    class Meta:
        verbose_name = "certificado A1"
        verbose_name_plural = "certificados A1"
        ordering = ["-ends_at"]

    def __str__(self) -> str:
        return f"{self.subject}, até {self.ends_at:%d/%m/%Y}"


class DpsSeries(models.Model):
    """The next number of a series. Numbers are unique per city, issuer, series and environment, for ever."""

    city_code = models.CharField("município", max_length=7)
    tax_id = models.CharField("CNPJ", max_length=14)
    series = models.PositiveIntegerField("série")
    environment = models.CharField("ambiente", max_length=1, choices=Issuer.Environment.choices)
    next_number = models.BigIntegerField("próximo número", default=1)

    class Meta:
        verbose_name = "série de DPS"
        verbose_name_plural = "séries de DPS"
        constraints = [
            models.UniqueConstraint(fields=["city_code", "tax_id", "series", "environment"], name="dps_series_once"),
            models.CheckConstraint(condition=Q(next_number__gte=1), name="dps_series_next_number"),
        ]

    def __str__(self) -> str:
        return f"{self.series} ({self.tax_id}, {self.get_environment_display()})"


class CityTerms(models.Model):
    """What the national system says of a city: whether it uses the national emitter, and its rate for our service."""

    code = models.CharField("código IBGE", max_length=7, primary_key=True)
    is_adherent = models.BooleanField("aderente ao ambiente nacional", default=False)
    uses_national_emitter = models.BooleanField("usa o emissor nacional", default=False)
    iss_bps = models.PositiveSmallIntegerField("alíquota do ISS (centésimos de %)", null=True, blank=True)
    answer = models.JSONField("resposta", default=dict, blank=True)  # verbatim
    checked_at = models.DateTimeField("consultado em")

    class Meta:
        verbose_name = "convênio do município"
        verbose_name_plural = "convênios dos municípios"

    def __str__(self) -> str:
        return self.code
