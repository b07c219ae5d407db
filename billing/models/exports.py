"""Files that take a while: the row is the queue, and its pieces are the file, for as long as it is kept."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models import Organization, User
from accounts.tenancy import TenantManager


class Export(models.Model):
    """A table on its way to a file. Any worker continues it from its last piece when the one before it died."""

    class Kind(models.TextChoices):
        STATEMENT = "statement", _("Extrato")
        USAGE = "usage", _("Uso")
        REQUESTS = "requests", _("Requisições")

    class Form(models.TextChoices):
        SHEET = "sheet", _("CSV para planilha")  # `;`, decimal comma, BOM: as Brazil's spreadsheets read it
        PLAIN = "plain", _("CSV para programas")  # `,`, decimal point
        OFX = "ofx", _("OFX")  # of the statement alone

    class Status(models.TextChoices):
        WAITING = "waiting", _("Na fila")
        RUNNING = "running", _("Gerando")
        DONE = "done", _("Pronto")
        FAILED = "failed", _("Falhou")  # after its last try
        EXPIRED = "expired", _("Expirado")  # its pieces are gone

    id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", verbose_name="empresa")
    kind = models.CharField("tabela", max_length=9, choices=Kind.choices)
    form = models.CharField("formato", max_length=5, choices=Form.choices)
    filters = models.JSONField("filtros", default=dict)  # `billing.exports.Wanted`, without what is empty
    status = models.CharField("situação", max_length=7, choices=Status.choices, default=Status.WAITING)
    # As counted from the days; calls still under way may add some. 0: with filters that the days don't know.
    rows_total = models.BigIntegerField("linhas", default=0)
    rows_done = models.BigIntegerField("linhas prontas", default=0)
    bytes = models.BigIntegerField("bytes", default=0)  # of the file
    cursor = models.CharField(max_length=60, blank=True)  # where the next piece begins
    tries = models.PositiveSmallIntegerField("tentativas", default=0)  # that died or failed
    lease_id = models.UUIDField(null=True, blank=True)  # of the worker at it: who has another one may not write any more
    leased_until = models.DateTimeField(null=True, blank=True)  # a worker silent for so long is dead
    error = models.CharField("erro", max_length=200, blank=True)
    requested_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", verbose_name="pedido por")
    created_at = models.DateTimeField("pedido em", auto_now_add=True)
    done_at = models.DateTimeField("pronto em", null=True, blank=True)
    expires_at = models.DateTimeField("guardado até", null=True, blank=True)

    objects = TenantManager["Export"]()
    everywhere: ClassVar[models.Manager[Export]] = models.Manager()

    class Meta:
        verbose_name = "exportação"
        verbose_name_plural = "exportações"
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        indexes = [
            models.Index(fields=["organization", "-created_at"], name="export_by_organization"),
            models.Index(fields=["created_at"], name="export_due", condition=models.Q(status__in=["waiting", "running"])),
        ]

    @property
    def percent(self) -> int:
        if self.status == self.Status.DONE:
            return 100
        return min(99, self.rows_done * 100 // self.rows_total) if self.rows_total else 0


class ExportPiece(models.Model):
    """A stretch of the file, deflated by itself."""

    export = models.ForeignKey(Export, models.CASCADE, related_name="pieces")
    number = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["export", "number"], name="export_piece_once")]
