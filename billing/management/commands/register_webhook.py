"""`manage.py register_webhook`: tell the bank where our PIX door is. Repeatable."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from billing.pix import psp
from billing.pix.errors import PspRefused, PspUnavailable


class Command(BaseCommand):
    help = "Registra no banco o endereço que recebe os avisos de PIX (PUT /webhook/{chave})."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            psp.set_webhook(f"{settings.WEB_URL}/webhooks/pix/{settings.PSP_WEBHOOK_SECRET}")
        except (PspRefused, PspUnavailable) as error:
            raise CommandError(f"O banco não registrou o webhook: {error}") from error
        self.stdout.write("Webhook registrado no banco.")
