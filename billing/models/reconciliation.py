"""Where our books and somebody else's say different things, and who looked when."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q


class Difference(models.Model):
    """One fact that two sides tell differently. Found again it is the same row; it is never repaired by itself.

    It ends by a person who explains it, or because both sides agree when they are compared again. Other figures open it anew.
    """

    class Subject(models.TextChoices):
        PIX = "pix", "PIX recebido"
        PIX_REFUND = "pix_refund", "PIX devolvido"
        CARD = "card", "Pagamento na Stripe"
        CARD_REFUND = "card_refund", "Devolução na Stripe"
        DISPUTE = "dispute", "Contestação na Stripe"
        PROVIDER = "provider", "Uso no provedor"
        INVARIANT = "invariant", "Contas da Tokia"
        DOCUMENT = "document", "Notas fiscais"  # what `invoices.reconcile` finds: documents and the facts that they tell

    class Kind(models.TextChoices):
        ONLY_THERE = "only_there", "Só no outro lado"
        ONLY_HERE = "only_here", "Só na Tokia"
        AMOUNT = "amount", "Valores diferentes"
        BROKEN = "broken", "Não fecha"  # of an invariant

    class Status(models.TextChoices):
        OPEN = "open", "Em aberto"
        EXPLAINED = "explained", "Explicada"
        GONE = "gone", "Sumiu"  # both sides agree now

    subject = models.CharField("assunto", max_length=11, choices=Subject.choices)
    reference = models.CharField("referência", max_length=200)
    kind = models.CharField("tipo", max_length=10, choices=Kind.choices)
    ours_nanos = models.BigIntegerField("na Tokia", null=True)
    theirs_nanos = models.BigIntegerField("no outro lado", null=True)
    detail = models.TextField("o que foi visto", blank=True)
    fact_at = models.DateTimeField("do fato")  # when the fact was: a comparison of its time may close it
    status = models.CharField("situação", max_length=9, choices=Status.choices, default=Status.OPEN)
    explanation = models.CharField("explicação", max_length=500, blank=True)
    explained_by = models.CharField("explicada por", max_length=150, blank=True)
    explained_at = models.DateTimeField("explicada em", null=True, blank=True)
    first_seen_at = models.DateTimeField("vista desde")
    last_seen_at = models.DateTimeField("vista em")
    gone_at = models.DateTimeField("sumiu em", null=True, blank=True)

    class Meta:
        verbose_name = "diferença"
        verbose_name_plural = "diferenças"
        constraints = [
            models.UniqueConstraint(fields=["subject", "reference"], name="difference_once"),
            models.CheckConstraint(condition=~Q(status="explained") | ~Q(explanation=""), name="difference_explained_in_words"),
        ]
        indexes = [models.Index(fields=["status", "subject", "fact_at"], name="difference_open")]

    def __str__(self) -> str:
        return f"{self.get_subject_display()} {self.reference}"


class ReconciliationRun(models.Model):
    """One comparison: what each side had in the period, and how much did not agree."""

    subject = models.CharField("assunto", max_length=11, choices=Difference.Subject.choices)
    first_at = models.DateTimeField("de")
    last_at = models.DateTimeField("até")
    ours_count = models.PositiveIntegerField("nossos", default=0)
    theirs_count = models.PositiveIntegerField("deles", default=0)
    ours_nanos = models.BigIntegerField("na Tokia", default=0)
    theirs_nanos = models.BigIntegerField("no outro lado", default=0)
    differences = models.PositiveIntegerField("diferenças", default=0)
    failure = models.CharField("falha", max_length=300, blank=True)  # the other side did not answer: nothing was compared
    started_at = models.DateTimeField("começou em")
    took_ms = models.PositiveIntegerField("levou (ms)", default=0)

    class Meta:
        verbose_name = "conciliação"
        verbose_name_plural = "conciliações"
        indexes = [models.Index(fields=["subject", "-started_at"], name="reconciliation_last")]


class ProviderReport(models.Model):
    """A cost or usage report that a provider gave us, as it was imported. The same file again is the same report."""

    provider_name = models.CharField("provedor", max_length=40)
    file_name = models.CharField("arquivo", max_length=200)
    digest = models.BinaryField(max_length=32, unique=True, editable=False)  # SHA-256 of provider and file
    first_on = models.DateField("do dia")  # days are UTC's, as providers count them
    last_on = models.DateField("ao dia")
    rows = models.PositiveIntegerField("linhas")
    usd = models.DecimalField("US$", max_digits=18, decimal_places=6)
    imported_by = models.CharField("importado por", max_length=150)
    imported_at = models.DateTimeField("importado em", auto_now_add=True)

    class Meta:
        verbose_name = "relatório de provedor"
        verbose_name_plural = "relatórios de provedores"
        constraints = [models.CheckConstraint(condition=Q(first_on__lte=F("last_on")), name="provider_report_days")]

    def __str__(self) -> str:
        return f"{self.provider_name} {self.first_on:%d/%m/%Y}–{self.last_on:%d/%m/%Y}"


class ProviderReportLine(models.Model):
    """A day of one model at the provider. What the report does not tell is empty."""

    report = models.ForeignKey(ProviderReport, models.CASCADE, related_name="lines", verbose_name="relatório")
    day = models.DateField("dia (UTC)")
    upstream_model = models.CharField("modelo no provedor", max_length=120)
    input_tokens = models.BigIntegerField("entrada", null=True)  # all of the prompt, cached or not
    output_tokens = models.BigIntegerField("saída", null=True)
    usd = models.DecimalField("US$", max_digits=18, decimal_places=6, null=True)

    class Meta:
        verbose_name = "linha de relatório"
        verbose_name_plural = "linhas de relatórios"
        constraints = [models.UniqueConstraint(fields=["report", "day", "upstream_model"], name="provider_report_line_once")]
