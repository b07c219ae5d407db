"""The chain over the books: whoever changes or removes what was sealed breaks a link that anybody can find."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class LedgerSeal(models.Model):
    """One link: an entry with its postings and usage records, or a free call (a usage record that has no entry).

    digest = SHA-256(digest of the link before ‖ SHA-256 of the canonical text); the form of the text is `billing/sql/seals.sql`'s.
    Links are in the sequence in which they were sealed, without gaps; an entry that committed late is sealed later.
    """

    seq = models.BigIntegerField("nº", primary_key=True)
    entry_id = models.BigIntegerField("lançamento", null=True)
    call_id = models.UUIDField("requisição", null=True)
    version = models.SmallIntegerField("forma", default=1)  # of the canonical text
    digest = models.BinaryField("selo", max_length=32)
    sealed_at = models.DateTimeField("selado em", auto_now_add=True)

    class Meta:
        verbose_name = "selo do livro"
        verbose_name_plural = "selos do livro"
        constraints = [
            models.UniqueConstraint(fields=["entry_id"], name="ledger_seal_entry_once", condition=Q(entry_id__isnull=False)),
            models.UniqueConstraint(fields=["call_id"], name="ledger_seal_call_once", condition=Q(call_id__isnull=False)),
            models.CheckConstraint(
                condition=Q(entry_id__isnull=True, call_id__isnull=False) | Q(entry_id__isnull=False, call_id__isnull=True),
                name="ledger_seal_of_one_thing",
            ),
        ]
        indexes = [models.Index(fields=["sealed_at"], name="ledger_seal_by_time")]

    def __str__(self) -> str:
        return f"{self.seq} {bytes(self.digest).hex()[:16]}"


class SealCheck(models.Model):
    """One run of the verifier, from one link to another, and what the chain's head was. `broken_seq` empty: every link holds."""

    first_seq = models.BigIntegerField("do nº")
    last_seq = models.BigIntegerField("ao nº")
    head_seq = models.BigIntegerField("último nº")
    head_digest = models.BinaryField("selo", max_length=32)
    broken_seq = models.BigIntegerField("quebrado no nº", null=True, blank=True)
    detail = models.TextField("o que foi encontrado", blank=True)
    checked_at = models.DateTimeField("conferido em", auto_now_add=True)

    class Meta:
        verbose_name = "conferência do livro"
        verbose_name_plural = "conferências do livro"
