"""What customers asked us to keep, sealed under their organization's key (`gateway.secrets`), and until when."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from accounts.models import ApiKey, Organization
from accounts.tenancy import TenantManager


class StoredResponse(models.Model):
    """An answer of `/v1/responses` that its caller asked us to keep, until `expires_at`. Content is sealed (`gateway.secrets`)."""

    id = models.UUIDField("id", primary_key=True, editable=False)  # shown as resp_<hex>
    organization = models.ForeignKey(
        Organization, models.CASCADE, related_name="stored_responses", verbose_name="empresa", editable=False
    )
    # Not a foreign key: the earlier answer may be deleted, or expire first.
    previous_id = models.UUIDField("continua", null=True, editable=False)
    route_name = models.CharField("modelo", max_length=100, editable=False)
    created_at = models.DateTimeField("criada em", editable=False)
    expires_at = models.DateTimeField("apagada em", db_index=True, editable=False)
    body = models.BinaryField("resposta", editable=False)
    input_items = models.BinaryField("entrada", editable=False)

    objects = TenantManager["StoredResponse"]()
    everywhere: ClassVar[models.Manager[StoredResponse]] = models.Manager()

    class Meta:
        verbose_name = "resposta guardada"
        verbose_name_plural = "respostas guardadas"
        ordering = ["-id"]
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"

    def __str__(self) -> str:
        return f"resp_{self.id.hex}"


class StoredFile(models.Model):
    """A file that its owner uploaded, or that a batch wrote, until `expires_at`. Its name and its content are sealed."""

    class Purpose(models.TextChoices):
        BATCH = "batch", "Entrada de lote"
        BATCH_OUTPUT = "batch_output", "Saída de lote"
        USER_DATA = "user_data", "Dados do cliente"

    id = models.UUIDField("id", primary_key=True, editable=False)  # shown as file-<hex>
    organization = models.ForeignKey(
        Organization, models.CASCADE, related_name="stored_files", verbose_name="empresa", editable=False
    )
    purpose = models.CharField("finalidade", max_length=12, choices=Purpose.choices, editable=False)
    name = models.BinaryField("nome", editable=False)
    bytes = models.BigIntegerField("bytes", editable=False)
    created_at = models.DateTimeField("criado em", editable=False)
    expires_at = models.DateTimeField("apagado em", db_index=True, editable=False)

    objects = TenantManager["StoredFile"]()
    everywhere: ClassVar[models.Manager[StoredFile]] = models.Manager()

    class Meta:
        verbose_name = "arquivo guardado"
        verbose_name_plural = "arquivos guardados"
        ordering = ["-id"]
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        indexes = [models.Index(fields=["organization", "id"], name="stored_file_of")]

    def __str__(self) -> str:
        return f"file-{self.id.hex}"


class FileChunk(models.Model):
    """A piece of a file, sealed."""

    file = models.ForeignKey(StoredFile, models.CASCADE, related_name="chunks", editable=False)
    number = models.PositiveIntegerField(editable=False)
    body = models.BinaryField(editable=False)

    objects = TenantManager["FileChunk"]("file__organization")
    everywhere: ClassVar[models.Manager[FileChunk]] = models.Manager()

    class Meta:
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.UniqueConstraint(fields=["file", "number"], name="file_chunk_once")]


class Batch(models.Model):
    """Calls of one file, made within a window at the batch price. Whoever works on it as a whole holds its lease."""

    class Status(models.TextChoices):
        VALIDATING = "validating", "Conferindo"
        FAILED = "failed", "Recusado"  # the file; nothing was called
        IN_PROGRESS = "in_progress", "Em execução"
        FINALIZING = "finalizing", "Escrevendo a saída"
        COMPLETED = "completed", "Concluído"
        EXPIRED = "expired", "Prazo esgotado"  # what was done is delivered
        CANCELLING = "cancelling", "Cancelando"
        CANCELLED = "cancelled", "Cancelado"  # what was done is delivered

    id = models.UUIDField("id", primary_key=True, editable=False)  # shown as batch_<hex>
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="batches", verbose_name="empresa", editable=False)
    api_key = models.ForeignKey(ApiKey, models.CASCADE, related_name="+", verbose_name="chave de API", editable=False)
    endpoint = models.CharField("endereço", max_length=40, editable=False)
    status = models.CharField("situação", max_length=11, choices=Status.choices, default=Status.VALIDATING, editable=False)
    details = models.BinaryField("detalhes", editable=False)  # sealed: the caller's metadata, and errors that quote the file
    # Not foreign keys: files may be deleted, or expire first.
    input_file_id = models.UUIDField("arquivo de entrada", editable=False)
    output_file_id = models.UUIDField("arquivo de saída", null=True, editable=False)
    error_file_id = models.UUIDField("arquivo de erros", null=True, editable=False)
    output_seconds = models.PositiveIntegerField("saída guardada por (s)", null=True, editable=False)  # empty: as any file
    total = models.PositiveIntegerField("linhas", default=0, editable=False)
    completed = models.PositiveIntegerField("concluídas", default=0, editable=False)  # of a batch that has ended
    failed = models.PositiveIntegerField("com erro", default=0, editable=False)
    created_at = models.DateTimeField("criado em", editable=False)
    expires_at = models.DateTimeField("prazo", editable=False)  # the window's end
    in_progress_at = models.DateTimeField("iniciado em", null=True, editable=False)
    cancelling_at = models.DateTimeField("cancelamento pedido em", null=True, editable=False)
    finalizing_at = models.DateTimeField("executado em", null=True, editable=False)
    ended_at = models.DateTimeField("encerrado em", null=True, editable=False)
    purged_at = models.DateTimeField("apagado em", db_index=True, editable=False)  # it is gone then
    paused_until = models.DateTimeField("em espera até", null=True, editable=False)  # no line begins before
    lease_id = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)  # the database's clock

    objects = TenantManager["Batch"]()
    everywhere: ClassVar[models.Manager[Batch]] = models.Manager()

    class Meta:
        verbose_name = "lote"
        verbose_name_plural = "lotes"
        ordering = ["-id"]
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        indexes = [
            models.Index(fields=["organization", "id"], name="batch_of"),
            models.Index(fields=["status"], name="batch_open", condition=models.Q(ended_at=None)),
        ]

    def __str__(self) -> str:
        return f"batch_{self.id.hex}"


class BatchLine(models.Model):
    """One call of a batch. `call_id` is the call that is under way or was delivered: its hold, and its usage record.

    RUNNING belongs to whoever holds the lease; a lease that has run out belongs to nobody, and its call is over.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "Na fila"
        RUNNING = "running", "Em execução"
        DONE = "done", "Concluída"  # answered, and settled in the same transaction
        FAILED = "failed", "Com erro"  # for good, free of charge

    batch = models.ForeignKey(Batch, models.CASCADE, related_name="lines", editable=False)
    number = models.PositiveIntegerField(editable=False)  # of the file's line, from 1
    request = models.BinaryField(editable=False)  # sealed; empty once the batch has ended
    status = models.CharField(max_length=7, choices=Status.choices, default=Status.PENDING, editable=False)
    tries = models.PositiveSmallIntegerField(default=0, editable=False)
    due_at = models.DateTimeField(editable=False)  # not tried before
    call_id = models.UUIDField(null=True, editable=False)
    route_name = models.CharField(max_length=100, blank=True, editable=False)
    price_version_id = models.BigIntegerField(default=0, editable=False)
    error_code = models.CharField(max_length=40, blank=True, editable=False)  # of the last try
    answer = models.BinaryField(default=b"", editable=False)  # sealed line of the output; empty once the batch has ended
    lease_id = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)  # the database's clock

    objects = TenantManager["BatchLine"]("batch__organization")
    everywhere: ClassVar[models.Manager[BatchLine]] = models.Manager()

    class Meta:
        default_manager_name = "everywhere"
        base_manager_name = "everywhere"
        constraints = [models.UniqueConstraint(fields=["batch", "number"], name="batch_line_once")]
        indexes = [models.Index(fields=["batch", "status", "number"], name="batch_line_due")]
