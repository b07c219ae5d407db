"""Rows for tests, one plain function each: `make_wallet(brl="50.00")`. Money comes in by the ledger, as in production.

Add your own `make_*` here; keep every argument optional and keyword-only.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from accounts.keys import mint_key
from accounts.models import ApiKey, Organization, User
from billing import holds, ledger
from billing.models import LedgerEntry, Price, PriceBook, PriceVersion, VolumePlan, VolumeTier, Wallet
from billing.money import BRL, from_brl
from billing.pricing import Usage, per_units_of
from billing.wallets import wallet_of
from gateway.models import Credential, Deployment, Provider, Route
from gateway.secrets import encrypt
from tokia import clock

_number = itertools.count(1)
CAPABILITIES = ("tools", "vision", "audio", "files", "json", "reasoning", "audio_output", "prompt_cache")
DEFAULT_TIERS = ((500 * BRL, 500), (2_000 * BRL, 800), (5_000 * BRL, 1_200), (10_000 * BRL, 1_500))


def make_organization(*, name: str = "", tax_id: str = "11222333000181") -> Organization:
    return Organization.objects.create(name=name or f"Empresa {next(_number)}", tax_id=tax_id)


def make_user(*, email: str = "") -> User:
    return User.objects.create_user(email or f"pessoa{next(_number)}@example.com.br", "correct horse battery staple")


def make_wallet(
    *, organization: Organization | None = None, brl: str | Decimal = "50.00", promo_brl: str | Decimal = "0"
) -> Wallet:
    """A wallet with a top-up of `brl` and a grant of `promo_brl`."""
    wallet = wallet_of(organization or make_organization())
    if from_brl(brl):
        make_top_up(wallet=wallet, brl=brl)
    if from_brl(promo_brl):
        ledger.grant(wallet, amount_nanos=from_brl(promo_brl), reference=f"grant:test-{uuid.uuid4()}", actor="test")
    wallet.refresh_from_db()
    return wallet


def make_top_up(*, wallet: Wallet, brl: str | Decimal = "50.00", end_to_end_id: str = "") -> LedgerEntry:
    return ledger.post_entry(
        kind=LedgerEntry.Kind.TOP_UP, reference=f"pix:{end_to_end_id or uuid.uuid4().hex}", wallet=wallet,
        amount_nanos=from_brl(brl), book=ledger.WORLD_PIX, actor="test",
    )  # fmt: skip


def make_key(*, organization: Organization | None = None, user: User | None = None, **fields: Any) -> tuple[ApiKey, str]:
    """A key and its secret."""
    organization = organization or make_organization()
    return mint_key(organization, user=user or make_user(), name=fields.pop("name", "teste"), **fields)


def make_volume_plan(*, tiers: Sequence[tuple[int, int]] = DEFAULT_TIERS, is_default: bool = True) -> VolumePlan:
    """A published plan of (above nanos, hundredths of a percent)."""
    plan = VolumePlan.objects.create(name=f"Plano {uuid.uuid4().hex[:8]}")
    VolumeTier.objects.bulk_create(VolumeTier(plan=plan, above_nanos=above, discount_bps=bps) for above, bps in tiers)
    if is_default:
        VolumePlan.objects.filter(is_default=True).update(is_default=False)
    VolumePlan.objects.filter(pk=plan.pk).update(is_default=is_default, published_at=clock.now())
    plan.refresh_from_db()
    return plan


def make_provider(*, slug: str = "", dialect: str = Provider.Dialect.OPENAI, base_url: str = "http://127.0.0.1:9/v1") -> Provider:
    """A provider with a credential."""
    slug = slug or f"provider-{next(_number)}"
    provider = Provider.objects.create(slug=slug, name=slug.title(), dialect=dialect, base_url=base_url)
    Credential.objects.create(provider=provider, label="teste", secret=encrypt(f"sandbox-{slug}"), last4=slug[-4:])
    return provider


def make_route(*, name: str = "", provider: Provider | None = None, upstream_model: str = "test-model", **fields: Any) -> Route:
    """An active route with one deployment; give it a price with `make_price`. A chat model is able to do all, unless told."""
    name = name or f"test/model-{next(_number)}"
    given = {"display_name": name, "maker": "Teste", "context_tokens": 128_000, "output_tokens_max": 16_384,
             "output_tokens_default": 4_096, **fields}  # fmt: skip
    if given.get("surface", Route.Surface.CHAT) == Route.Surface.CHAT:
        given.setdefault("capabilities", list(CAPABILITIES))
    route = Route.objects.create(name=name, **given)
    Deployment.objects.create(route=route, provider=provider or make_provider(), upstream_model=upstream_model)
    return route


def make_price(
    *, route: Route | str, units: Mapping[str, str | Decimal] | None = None, version: PriceVersion | None = None
) -> PriceVersion:
    """A published version of the default book with prices in reais per `per_units_of` (tokens per million, characters per
    thousand, sound per hour, the others one by one), or lines added to an open draft. The other routes of the version in force go
    along."""
    book, _ = PriceBook.objects.get_or_create(is_default=True, defaults={"name": "Padrão"})
    name = route if isinstance(route, str) else route.name
    draft = version or PriceVersion.objects.create(book=book, number=book.versions.count() + 1)
    prices: dict[tuple[str, str], Price] = {}
    current = book.versions.filter(status=PriceVersion.Status.PUBLISHED).order_by("-number").first()
    if current is not None and version is None:
        for price in Price.objects.filter(version=current):
            price.pk, price.version = None, draft
            prices[price.route_name, price.unit] = price
    for unit, brl in (units or {"input": "10", "output": "30"}).items():
        amount, per_units = from_brl(brl), per_units_of(unit)
        prices[name, unit] = Price(
            version=draft, route_name=name, unit=unit, per_units=per_units, override_nanos=amount, amount_nanos=amount
        )
    Price.objects.bulk_create(prices.values())
    if version is None:
        now = clock.now()
        PriceVersion.objects.filter(pk=draft.pk).update(
            status=PriceVersion.Status.PUBLISHED, effective_at=now, published_at=now, published_by="test"
        )
        draft.refresh_from_db()
    return draft


def make_session() -> int:
    return holds.open_session("test", seconds=300)


def make_hold(
    *, wallet: Wallet, brl: str | Decimal = "1.00", session: int | None = None, id_: uuid.UUID | None = None
) -> uuid.UUID:
    """A placed hold; its id is the call's."""
    call_id = id_ or clock.new_id()
    holds.place_hold(session or make_session(), call_id=call_id, wallet=wallet, amount_nanos=from_brl(brl))
    return call_id


def make_call(*, wallet: Wallet, gross_nanos: int, id_: uuid.UUID | None = None, **fields: Any) -> holds.EndedCall:
    """A call as it ended, not settled."""
    given = {"api_key_id": 1, "price_version_id": 1, "route_name": "test/model", "usage": Usage(input_tokens=10, output_tokens=5),
             **fields}  # fmt: skip
    return holds.EndedCall(id=id_ or clock.new_id(), wallet_id=wallet.pk, gross_nanos=gross_nanos, **given)


def make_usage(*, wallet: Wallet, gross_nanos: int = BRL, id_: uuid.UUID | None = None, **fields: Any) -> holds.Settled:
    """A settled call without a hold, as after a late spool."""
    [settled] = holds.settle([make_call(wallet=wallet, gross_nanos=gross_nanos, id_=id_, **fields)])
    return settled
