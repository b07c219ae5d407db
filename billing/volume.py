"""The discounts by volume: a plan is a frozen edition of tiers, marginal on the month's gross. One is in force for everybody."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from django.db import transaction

from billing.errors import BillingError
from billing.models import VolumePlan, VolumeTier
from billing.money import BRL
from tokia import clock

# (above R$ a month, hundredths of a percent off the part beyond it)
DEFAULT_TIERS = ((500, 500), (2_000, 800), (5_000, 1_200), (10_000, 1_500))


class PlanRefused(BillingError):
    """The plan can't be published."""

    code = "volume_plan_refused"
    status = 409


def plan_in_force() -> VolumePlan | None:
    return VolumePlan.objects.filter(is_default=True).first()


def seed_plan() -> VolumePlan:
    """The plan in force; on an empty database, the default one, published."""
    plan = plan_in_force()
    if plan is not None:
        return plan
    with transaction.atomic():
        plan = VolumePlan.objects.create(name="Padrão")
        VolumeTier.objects.bulk_create(
            VolumeTier(plan=plan, above_nanos=above * BRL, discount_bps=bps) for above, bps in DEFAULT_TIERS
        )
        return publish_plan(plan)


def publish_plan(plan: VolumePlan) -> VolumePlan:
    """Freeze a plan and put it in force for everybody. A month that has begun keeps the plan of its first call.

    Raises PlanRefused: already published, or a tier that gives less than the one below it.
    """
    with transaction.atomic():
        locked = VolumePlan.objects.select_for_update().get(pk=plan.pk)
        if locked.published_at is not None:
            raise PlanRefused("Este plano já foi publicado. Crie outro para mudar as faixas.")
        tiers = list(VolumeTier.objects.filter(plan=locked).order_by("above_nanos"))
        _check_rising([tier.discount_bps for tier in tiers])
        VolumePlan.objects.filter(is_default=True).update(is_default=False)
        VolumePlan.objects.filter(pk=locked.pk).update(is_default=True, published_at=clock.now())
    plan.refresh_from_db()
    return plan


def _check_rising(discounts: Sequence[int]) -> None:
    if any(later <= earlier for earlier, later in itertools.pairwise(discounts)):
        raise PlanRefused("Cada faixa precisa dar mais desconto que a anterior.")
