"""What a chat call may come to, model by model: what its hold and its part of a minute are worked out from. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from billing.pricing import PriceList
from gateway.calls import Caller, Candidate, ChatCall, ServedRoute
from gateway.metering import Bound, OpenCall
from gateway.shortlist import routes_of
from gateway.tokens import count_chat_input, estimate_chat_input, has_media

BYTES_PER_TOKEN = 4  # of a body, where nobody has counted


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


def tokens_of_minute(caller: Caller, call: ChatCall, route: ServedRoute) -> int:
    """What a call takes of its caller's tokens per minute, by estimate; 0 where they are not limited. Of an answer whose length the
    call does not bound, no more than the whole minute."""
    limits = [limit.most for limit in caller.rates if limit.unit == "tokens"]
    if not limits:
        return 0
    is_text = not has_media(call)  # base64 is none
    tokens = -(-call.body_bytes // BYTES_PER_TOKEN) if is_text else estimate_chat_input(call, factor_percent=100)
    asked = call.output_tokens_asked
    tokens = min(tokens, route.context_tokens) + min(asked or route.output_tokens_default, route.output_tokens_max) * call.choices
    return tokens if asked else min(tokens, *limits)
