"""The books: entries with postings from a source to a destination. Append-only; a correction is another entry."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _


class LedgerEntry(models.Model):
    """One business event. `reference` comes from the business fact and is unique for ever."""

    class Kind(models.TextChoices):
        TOP_UP = "top_up", _("Recarga")  # world:pix or world:stripe → wallet, at the amount received
        GRANT = "grant", _("Bônus")  # promo:grants → wallet
        USAGE = "usage", _("Uso")  # wallet → revenue:usage, one per wallet and settled batch
        REFUND = "refund", _("Devolução")  # wallet → world:pix or world:stripe
        DISPUTE = "dispute", _("Contestação")  # taken back by who paid (MED, chargeback), or given again when it was lost
        EXPIRY = "expiry", _("Bônus expirado")  # wallet → promo:expired
        CORRECTION = "correction", _("Ajuste")  # by a person, with a reason
        REVERSAL = "reversal", _("Estorno")  # the mirror of another entry

    kind = models.CharField("tipo", max_length=10, choices=Kind.choices)
    reference = models.CharField("referência", max_length=100, unique=True)
    reverses = models.OneToOneField(
        "self", models.PROTECT, null=True, blank=True, related_name="reversed_by", verbose_name="estorna"
    )
    reason = models.CharField("motivo", max_length=300, blank=True)
    actor = models.CharField("por", max_length=150, blank=True)  # who asked: an e-mail, or the process
    created_at = models.DateTimeField("em", auto_now_add=True)

    class Meta:
        verbose_name = "lançamento"
        verbose_name_plural = "lançamentos"

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.reference}"


class Posting(models.Model):
    """Money from one book to another. A wallet is the book `wallet:<id>`; the others are `world:pix`, `world:stripe`,
    `revenue:usage`, `promo:grants`, `promo:expired`, `overdraft:<wallet id>` (receivable) and `corrections`."""

    entry = models.ForeignKey(LedgerEntry, models.PROTECT, related_name="postings", verbose_name="lançamento")
    wallet = models.ForeignKey(
        "billing.Wallet",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="postings",
        db_constraint=False,  # the functions hold the wallet's lock
        verbose_name="carteira",
    )  # the wallet that one of the sides is, for the index
    source = models.CharField("origem", max_length=40)
    destination = models.CharField("destino", max_length=40)
    amount_nanos = models.BigIntegerField("valor")

    class Meta:
        verbose_name = "partida"
        verbose_name_plural = "partidas"
        constraints = [
            models.CheckConstraint(condition=Q(amount_nanos__gt=0), name="posting_amount_positive"),
            models.CheckConstraint(condition=~Q(source=F("destination")), name="posting_moves"),
        ]
        indexes = [  # what a statement tells one by one: a few of a wallet's postings, most are usage
            models.Index(fields=["wallet", "entry"], name="posting_not_usage", condition=~Q(destination="revenue:usage"))
        ]
