"""The discounts by volume: a plan is a frozen edition of tiers, marginal on the month's gross. One is in force for everybody.

Others are frozen for contracts (`billing.contracts`): the same editor, never in force for everybody.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from decimal import Decimal

from django.db import transaction

from billing.errors import BillingError
from billing.models import VolumePlan, VolumeTier
from billing.money import BRL, format_brl
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

    Raises PlanRefused: already published, negotiated with one organization, or a tier that gives less than the one below it.
    """
    if plan.organization_id is not None:
        raise PlanRefused("Este plano foi negociado com uma empresa: congele-o e acerte um contrato.")
    return _freeze(plan, is_default=True)


def freeze_plan(plan: VolumePlan) -> VolumePlan:
    """Freeze a plan for contracts; it is in force for nobody until one of them names it. Raises PlanRefused."""
    return _freeze(plan, is_default=False)


def tell_tiers(plan: VolumePlan) -> str:
    """`5 % acima de R$ 500 · 8 % acima de R$ 2.000`."""
    return " · ".join(
        f"{Decimal(tier.discount_bps) / 100:f} %".replace(".", ",") + f" acima de {_whole(tier.above_nanos)}"
        for tier in plan.tiers.all()
    )


def _whole(nanos: int) -> str:
    return format_brl(nanos).removesuffix(",00")


def _freeze(plan: VolumePlan, *, is_default: bool) -> VolumePlan:
    with transaction.atomic():
        locked = VolumePlan.objects.select_for_update().get(pk=plan.pk)
        if locked.published_at is not None:
            raise PlanRefused("Este plano já foi publicado. Crie outro para mudar as faixas.")
        tiers = list(VolumeTier.objects.filter(plan=locked).order_by("above_nanos"))
        _check_rising([tier.discount_bps for tier in tiers])
        if is_default:
            VolumePlan.objects.filter(is_default=True).update(is_default=False)
        VolumePlan.objects.filter(pk=locked.pk).update(is_default=is_default, published_at=clock.now())
    plan.refresh_from_db()
    return plan


def _check_rising(discounts: Sequence[int]) -> None:
    if any(later <= earlier for earlier, later in itertools.pairwise(discounts)):
        raise PlanRefused("Cada faixa precisa dar mais desconto que a anterior.")
