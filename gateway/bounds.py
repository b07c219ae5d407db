"""What a chat call may come to at most, model by model: what its hold is worked out from. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from billing.pricing import PriceList
from gateway.calls import Candidate, ChatCall, ServedRoute
from gateway.metering import Bound, OpenCall
from gateway.shortlist import routes_of
from gateway.tokens import count_chat_input, has_media


def bounds_of(open_call: OpenCall, call: ChatCall, candidates: Sequence[Candidate]) -> list[Bound]:
    """One for each model among the candidates."""
    bounds = [_bound_of(open_call, call, route, prices) for route, prices in routes_of(candidates, is_batch=open_call.is_batch)]
    if len(bounds) > 1:
        named = {candidate.route.name for candidate in candidates if not candidate.kinds} or {candidates[0].route.name}
        for bound in bounds:
            bound.is_fallback = bound.route.name not in named
    return bounds


def _bound_of(open_call: OpenCall, call: ChatCall, route: ServedRoute, prices: PriceList) -> Bound:
    has_media_input = has_media_output = False
    if prices.has_dearer_media:
        has_media_input = has_media(call)
        has_media_output = call.decoded.get("modalities") != ["text"]  # some draw unasked
    return Bound(
        route=route, prices=prices, output_tokens=open_call.outputs[route.name], input_tokens=partial(_count_input, call, route),
        has_media_input=has_media_input, has_media_output=has_media_output,
    )  # fmt: skip


def _count_input(call: ChatCall, route: ServedRoute) -> int:
    return min(count_chat_input(call, factor_percent=route.token_factor_percent), route.context_tokens)
