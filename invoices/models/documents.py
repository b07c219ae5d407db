"""An invoice from its draft to its end, what it is made of, and every answer about it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from accounts.models import Organization
from accounts.tenancy import TenantManager
from invoices.models.issuers import InvoicePolicy, Issuer, TaxTerms


class Invoice(models.Model):
    """One NFS-e, or what will be one. Only `invoices.issuing` writes `status`; rows are the queue (`due_at`).

    The amount is in centavos: here the nanos of the ledger become money of the tax office, once (`invoices.drafting`).
    """

    class Status(models.TextChoices):
        DRAFT = "draft", "Na fila"  # made of billed facts; no number yet
        NUMBERED = "numbered", "Numerada"  # the DPS number is its own for ever
        SIGNED = "signed", "Assinada"  # `dps_xml` are the bytes that are sent, now and at every retry
        SENDING = "sending", "Emitindo"  # written before the first byte leaves
        ISSUED = "issued", "Autorizada"
        REJECTED = "rejected", "Rejeitada"  # by the tax office or by us (`problem_code`); repaired, it goes on with its number
        UNCERTAIN = "uncertain", "Em consulta"  # sent, and the answer was lost: asked for, never sent blindly
        CANCEL_PENDING = "cancel_pending", "Cancelando"
        CANCELLED = "cancelled", "Cancelada"
        REPLACED = "replaced", "Substituída"
        DISCARDED = "discarded", "Descartada"  # a draft or rejected one that was never issued and never will be

    LIVE = (
        Status.DRAFT, Status.NUMBERED, Status.SIGNED, Status.SENDING, Status.ISSUED, Status.REJECTED, Status.UNCERTAIN,
        Status.CANCEL_PENDING,
    )  # fmt: skip

    class Delivery(models.TextChoices):
        NONE = "none", "—"
        DUE = "due", "A enviar"
        SENT = "sent", "Enviada"
        FAILED = "failed", "Não entregue"  # after every attempt; a person resends

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="invoices", verbose_name="empresa")
    issuer = models.ForeignKey(Issuer, models.PROTECT, related_name="invoices", verbose_name="emitente")
    policy = models.CharField("o que se fatura", max_length=20, choices=InvoicePolicy.Kind.choices)
    reference = models.CharField("referência", max_length=80, unique=True)  # "month:<organization>:2026-11:1", "topup:<entry>:1"
    month = models.DateField("mês")  # the month of the facts, its first day
    competence_on = models.DateField("competência")  # dCompet: the last day of the month, or the day of the payment
    status = models.CharField("situação", max_length=14, choices=Status.choices, default=Status.DRAFT)
    amount_centavos = models.BigIntegerField("valor (centavos)")
    taker = models.JSONField("tomador", default=dict)  # as it was when the DPS was built: `invoices.takers.Taker`
    terms = models.ForeignKey(TaxTerms, models.PROTECT, null=True, blank=True, related_name="+", verbose_name="regra fiscal")
    # Of the document, fixed when its number is taken.
    channel = models.CharField("canal", max_length=6, choices=Issuer.Channel.choices, blank=True)
    environment = models.CharField("ambiente", max_length=1, choices=Issuer.Environment.choices, blank=True)
    city_code = models.CharField("município", max_length=7, blank=True)
    series = models.PositiveIntegerField("série", null=True, blank=True)
    number = models.BigIntegerField("nº da DPS", null=True, blank=True)
    dps_id = models.CharField("id da DPS", max_length=45, blank=True)
    focus_resource = models.CharField("recurso na Focus", max_length=8, blank=True)  # "nfsen" or "nfse": where it was born
    # What is sent, byte for byte, at every try: the signed DPS; at Focus the JSON.
    dps_xml = models.BinaryField("DPS assinada", null=True, blank=True, editable=False)
    # What came back.
    access_key = models.CharField("chave de acesso", max_length=50, blank=True)
    nfse_number = models.CharField("nº da nota", max_length=20, blank=True)
    verification_code = models.CharField("código de verificação", max_length=40, blank=True)  # of a city's own emitter
    nfse_xml = models.BinaryField("NFS-e", null=True, blank=True, editable=False)
    uploaded_pdf = models.BinaryField("PDF enviado", null=True, blank=True, editable=False)  # of a note issued by hand
    issued_at = models.DateTimeField("autorizada em", null=True, blank=True)
    # What a person must know.
    problem_code = models.CharField("código do problema", max_length=20, blank=True)  # "E0235"; ours: "TAKER", "CITY", "SCHEMA"…
    problem = models.CharField("problema", max_length=600, blank=True)
    problem_field = models.CharField("campo a corrigir", max_length=60, blank=True)
    # Cancelling and replacing.
    replaces = models.OneToOneField(
        "self", models.PROTECT, null=True, blank=True, related_name="replaced_by", verbose_name="substitui"
    )
    cancel_code = models.CharField(
        "motivo (código)", max_length=2, blank=True
    )  # 1 erro, 2 não prestado, 9 outros; of subst 01–05, 99
    cancel_reason = models.CharField("motivo", max_length=255, blank=True)
    cancel_by = models.CharField("pedido por", max_length=150, blank=True)
    cancel_xml = models.BinaryField(
        "evento de cancelamento", null=True, blank=True, editable=False
    )  # the signed request, then the event
    cancelled_at = models.DateTimeField("cancelada em", null=True, blank=True)
    # Withheld by the taker, in centavos: fields of the document, they move no money of the wallet.
    iss_withheld = models.BooleanField("ISS retido", default=False)
    irrf_centavos = models.BigIntegerField("IRRF retido (centavos)", default=0)
    csll_centavos = models.BigIntegerField("CSLL retida (centavos)", default=0)
    pis_cofins_withheld = models.BooleanField("PIS/COFINS retidos", default=False)
    # The queue: empty due_at waits for nobody but a person. `claimed_until` is the lease of the worker at it.
    due_at = models.DateTimeField("próximo passo em", null=True, blank=True)
    claimed_until = models.DateTimeField("em processamento até", null=True, blank=True, editable=False)
    attempts = models.PositiveIntegerField("tentativas", default=0)
    delivery = models.CharField("entrega", max_length=6, choices=Delivery.choices, default=Delivery.NONE)
    delivery_due_at = models.DateTimeField("entregar em", null=True, blank=True)
    delivery_attempts = models.PositiveSmallIntegerField("tentativas de entrega", default=0)
    delivered_at = models.DateTimeField("entregue em", null=True, blank=True)
    created_at = models.DateTimeField("criada em", auto_now_add=True)

    objects = TenantManager["Invoice"]()
    everywhere: ClassVar[models.Manager[Invoice]] = models.Manager()

    class Meta:
        verbose_name = "nota fiscal"
        verbose_name_plural = "notas fiscais"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        indexes = [
            models.Index(fields=["organization", "-id"], name="invoice_by_organization"),
            models.Index(fields=["due_at"], name="invoice_due", condition=Q(due_at__isnull=False)),
            models.Index(fields=["delivery_due_at"], name="invoice_delivery_due", condition=Q(delivery_due_at__isnull=False)),
            models.Index(fields=["status"], name="invoice_by_status"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(amount_centavos__gt=0), name="invoice_amount_positive"),
            models.UniqueConstraint(
                fields=["city_code", "issuer", "series", "number", "environment"], condition=Q(number__isnull=False),
                name="invoice_number_once",
            ),
            models.UniqueConstraint(fields=["access_key"], condition=~Q(access_key=""), name="invoice_access_key_once"),
            models.CheckConstraint(
                condition=~Q(status="issued") | Q(issued_at__isnull=False), name="invoice_issued_at_a_time"
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"Nota {self.nfse_number or self.number or self.pk}"


class InvoiceLine(models.Model):
    """A billed fact on an invoice: one route of a closed month, or one top-up. A fact is on at most one live line."""

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_constraint=False, db_index=False)
    invoice = models.ForeignKey(Invoice, models.PROTECT, related_name="lines", verbose_name="nota")
    # Exactly one of the two.
    close = models.ForeignKey("billing.MonthClose", models.PROTECT, null=True, related_name="+", verbose_name="fechamento")
    entry = models.ForeignKey("billing.LedgerEntry", models.PROTECT, null=True, related_name="+", verbose_name="recarga")
    route_name = models.CharField("modelo", max_length=100, blank=True)  # of a close; "" where nothing is told by route: late usage
    calls = models.BigIntegerField("requisições", default=0)
    amount_nanos = models.BigIntegerField("valor")  # net of promotional money
    is_live = models.BooleanField(default=True)  # its invoice is (`Invoice.LIVE`); `invoices.issuing` keeps it so

    objects = TenantManager["InvoiceLine"]()
    everywhere: ClassVar[models.Manager[InvoiceLine]] = models.Manager()

    class Meta:
        verbose_name = "item da nota"
        verbose_name_plural = "itens da nota"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [
            models.UniqueConstraint(
                fields=["close", "route_name"], condition=Q(is_live=True, close__isnull=False), name="invoiced_close_once"
            ),
            models.UniqueConstraint(fields=["entry"], condition=Q(is_live=True, entry__isnull=False), name="invoiced_entry_once"),
            models.CheckConstraint(
                condition=Q(close__isnull=False, entry__isnull=True) | Q(close__isnull=True, entry__isnull=False),
                name="invoice_line_one_fact",
            ),
        ]


class InvoiceEvent(models.Model):
    """Everything that was said about an invoice, verbatim and for ever: requests, answers, what people did."""

    class Kind(models.TextChoices):
        SUBMIT = "submit", "Envio"
        QUERY = "query", "Consulta"
        CANCEL = "cancel", "Cancelamento"
        REMOTE = "remote", "Evento de fora"  # found at the national distribution, made elsewhere
        PERSON = "person", "Ação de pessoa"
        DELIVERY = "delivery", "Entrega"
        OURS = "ours", "Verificação nossa"

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_constraint=False, db_index=False)
    invoice = models.ForeignKey(Invoice, models.PROTECT, related_name="events", verbose_name="nota")
    kind = models.CharField("tipo", max_length=8, choices=Kind.choices)
    text = models.CharField("o que houve", max_length=600)
    status_code = models.PositiveSmallIntegerField("HTTP", null=True, blank=True)
    body = models.BinaryField("resposta", null=True, blank=True, editable=False)  # as it came
    actor = models.CharField("por", max_length=150, blank=True)
    created_at = models.DateTimeField("em", auto_now_add=True)

    objects = TenantManager["InvoiceEvent"]()
    everywhere: ClassVar[models.Manager[InvoiceEvent]] = models.Manager()

    class Meta:
        verbose_name = "acontecimento da nota"
        verbose_name_plural = "acontecimentos da nota"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.text[:60]}"
