"""`manage.py reseal`: everything that is encrypted, under the newest of ENCRYPTION_KEYS. Safe to repeat; then an old key may go."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from billing.hook_secrets import reseal_hooks
from gateway.batch_store import reseal_batches
from gateway.feedback_store import reseal_feedback
from gateway.file_store import reseal_files
from gateway.idempotency_store import reseal_idempotent_calls
from gateway.models import Credential
from gateway.own_keys import reseal_own_keys
from gateway.surfaces.responses_store import reseal_responses
from invoices.sealed import reseal_issuers
from tokia.sealing import rotate


class Command(BaseCommand):
    help = (
        "Recifra com a primeira chave de ENCRYPTION_KEYS o que está guardado: chaves, respostas, arquivos, segredos, certificados."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        credentials = 0
        for credential in Credential.objects.all():
            credentials += Credential.objects.filter(pk=credential.pk).update(secret=rotate(bytes(credential.secret)))
        credentials += reseal_own_keys()
        responses = reseal_responses()
        rows = reseal_files() + reseal_batches()
        secrets = reseal_hooks()
        issuers = reseal_issuers()
        answers, comments = reseal_idempotent_calls(), reseal_feedback()
        self.stdout.write(
            f"Recifrados: {credentials} chaves de provedores e {responses} respostas guardadas; {rows} partes de arquivos e lotes;"
            f" {answers} respostas por Idempotency-Key; {comments} comentários; {secrets} segredos de webhooks;"
            f" {issuers} certificados e tokens de emissão."
        )
