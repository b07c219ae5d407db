"""`manage.py import_costs`: read the installed genai-prices snapshot again and propose a draft of what changed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from billing import costs, pricebooks


class Command(BaseCommand):
    help = "Importa os custos do pacote genai-prices e, se mudaram, propõe um rascunho de preços. Nunca publica."

    def handle(self, *args: Any, **options: Any) -> None:
        changed = costs.reimport_costs()
        for cost in changed:
            self.stdout.write(f"{cost.provider_name}/{cost.upstream_model} {cost.unit}: US$ {cost.usd}")
        draft = pricebooks.propose_draft()
        self.stdout.write(
            f"{len(changed)} custos novos. " + (f"Rascunho: {draft}." if draft else "Os preços em vigor já são estes.")
        )
