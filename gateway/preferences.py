"""What a call says of its routing, in the words that OpenRouter's users know, read and taken out of its body. Pure.

Nobody upstream hears of these members, and no surface has to know them. A body that has none of them is only skimmed. Amounts are
in reais: `max_price.prompt` and `.completion` per million tokens, `.request` and `.image` each. `latency_budget_ms` is of our own
measured times, in milliseconds; OpenRouter's `preferred_max_latency` is in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from gateway.calls import NO_PREFERENCES, CallContext, LatencyBudget, Preferences
from gateway.parsing import invalid
from gateway.tags import TAGS_HEADER, read_tags

MODELS_MAX = 8
MODEL_NAME_MAX = 200
SLUGS_MAX = 50
SLUG_MAX = 100
SESSION_MAX = 256
BUDGET_MS_MAX = 3_600_000
PRICE_BRL_MAX = 1_000_000_000
NANOS = 1_000_000_000
NUMBER_CHARACTERS_MAX = 40
QUALITIES = ("premium", "balanced", "fast", "free")
SORTS = ("price", "throughput", "latency")
PRICED = {"prompt": "input", "completion": "output", "request": "request", "image": "image"}
PERCENTILES = {"p50": 50, "p75": 95, "p90": 95, "p99": 95}  # the nearest that is measured and not looser than what was asked
# Members of `provider` that say nothing here: every deployment's weights are as its maker serves them.
NEUTRAL = frozenset({"quantizations", "enforce_distillable_text"})
SESSION_HEADER, BUDGET_HEADER, STRICT_HEADER = b"x-session-id", b"x-tokia-latency-budget-ms", b"x-tokia-strict-latency"

_NAMES = ("models", "provider", "session_id", "latency_budget_ms", "quality", "route", "tags")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d{1,3})?")
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode: Callable[[msgspec.Raw], Any] = msgspec.json.Decoder(Any).decode
NOTHING = msgspec.Raw(b"")


class Skimmed(msgspec.Struct, gc=False):
    """Our members where a body has them. To skim a body so costs a fraction of searching it for six words."""

    models: msgspec.Raw = NOTHING
    provider: msgspec.Raw = NOTHING
    session_id: msgspec.Raw = NOTHING
    latency_budget_ms: msgspec.Raw = NOTHING
    quality: msgspec.Raw = NOTHING
    route: msgspec.Raw = NOTHING
    tags: msgspec.Raw = NOTHING
    metadata: msgspec.Raw = NOTHING  # of which only `tags` is ours, and stays there


_skim = msgspec.json.Decoder(Skimmed).decode
BARE = Skimmed()


def take_preferences(body: bytes, headers: Mapping[bytes, bytes], *, is_chat: bool) -> tuple[bytes, Preferences]:
    """The body without these members, and what they say. What is not a JSON object is left to the surface's own parser.

    Where not `is_chat`, a call goes to the model that it names: `models` is refused, and `quality` is the surface's own.
    Raises BadRequest, naming the path."""
    try:
        skimmed = _skim(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body, read_preferences({}, headers)
    taken: dict[str, msgspec.Raw] = {}
    metadata = b""
    if skimmed != BARE:
        metadata = bytes(skimmed.metadata)
        taken, body = _take_members(body, is_chat=is_chat)
    if taken or b'"tags"' in metadata or TAGS_HEADER in headers:
        return body, read_preferences(taken, headers, metadata=metadata)
    if SESSION_HEADER not in headers and BUDGET_HEADER not in headers and STRICT_HEADER not in headers:
        return body, NO_PREFERENCES
    return body, read_preferences(taken, headers)


def note_preferences(context: CallContext, preferences: Preferences) -> None:
    """A call's preferences, its tags apart: who says nothing else is planned for as one who says nothing."""
    if preferences.tags:
        context.tags = preferences.tags
        preferences = msgspec.structs.replace(preferences, tags=())
        preferences = NO_PREFERENCES if preferences == NO_PREFERENCES else preferences
    context.preferences = preferences


def _take_members(body: bytes, *, is_chat: bool) -> tuple[dict[str, msgspec.Raw], bytes]:
    members = _decode_members(body)
    names = [name for name in _NAMES if name in members and (is_chat or name != "quality")]
    if not names:
        return {}, body
    taken = {name: members.pop(name) for name in names}
    taken = {name: raw for name, raw in taken.items() if bytes(raw) != b"null"}
    if not is_chat and "models" in taken:
        raise invalid("models", "nada: aqui só atende o modelo pedido", "nothing: only the model asked for is served here")
    if "model" not in members and "models" in taken and (listed := _names(taken["models"], "models", MODELS_MAX, MODEL_NAME_MAX)):
        members["model"] = msgspec.Raw(msgspec.json.encode(listed[0]))  # as OpenRouter takes it
    return taken, msgspec.json.encode(members)


def read_preferences(taken: Mapping[str, msgspec.Raw], headers: Mapping[bytes, bytes], *, metadata: bytes = b"") -> Preferences:
    """Raises BadRequest, naming the path."""
    given: dict[str, Any] = {}
    tags = read_tags(headers, body=_value(taken["tags"], "tags") if "tags" in taken else None, metadata=metadata)
    if tags:
        given["tags"] = tags
    if "models" in taken:
        given["models"] = tuple(dict.fromkeys(_names(taken["models"], "models", MODELS_MAX, MODEL_NAME_MAX)))
    if "provider" in taken:
        _read_provider(taken["provider"], given)
    if "latency_budget_ms" in taken:
        given["budget"] = _read_budget(taken["latency_budget_ms"])
    elif BUDGET_HEADER in headers:
        given["budget"] = LatencyBudget(total_ms=_read_header_ms(headers[BUDGET_HEADER]))
    if headers.get(STRICT_HEADER, b"").strip().lower() in (b"true", b"1") and "budget" in given:
        given["budget"] = msgspec.structs.replace(given["budget"], is_strict=True)
    if "quality" in taken:
        given["quality"] = _one_of(taken["quality"], "quality", QUALITIES)
    if "route" in taken:  # OpenRouter's old word for what `models` does by itself
        _one_of(taken["route"], "route", ("fallback",))
    session = _text(taken["session_id"], "session_id", SESSION_MAX) if "session_id" in taken else ""
    session = session or headers.get(SESSION_HEADER, b"").decode("latin-1")
    if len(session) > SESSION_MAX:
        raise invalid("x-session-id", f"até {SESSION_MAX} caracteres", f"at most {SESSION_MAX} characters")
    if session:
        given["session"] = session
    return Preferences(**given) if given else NO_PREFERENCES


def _read_provider(raw: msgspec.Raw, given: dict[str, Any]) -> None:
    for name, value in _members(raw, "provider").items():
        path = f"provider.{name}"
        if bytes(value) == b"null":
            continue
        match name:
            case "order":
                given["preferred"] = tuple(dict.fromkeys(_slugs(value, path)))
            case "only" | "ignore":
                given[name] = frozenset(_slugs(value, path))
            case "sort":
                given["sort"] = _read_sort(value)
            case "max_price":
                given["max_price"] = _read_max_price(value)
            case "allow_fallbacks":
                given["allows_fallbacks"] = _flag(value, path)
            case "require_parameters":
                given["requires_parameters"] = _flag(value, path)
            case "data_collection":
                given["denies_training"] = _one_of(value, path, ("allow", "deny")) == "deny"
            case "zdr":
                given["needs_zero_retention"] = _flag(value, path)
            case "preferred_max_latency":
                limit, percentile = _read_percentiles(value, path)
                milliseconds = int(limit * 1_000)
                if not 0 < milliseconds <= BUDGET_MS_MAX:
                    raise invalid(path, "segundos, mais que zero", "seconds, above zero")
                given.setdefault("budget", LatencyBudget(first_token_ms=milliseconds, percentile=percentile))
            case "preferred_min_throughput":
                limit, _ = _read_percentiles(value, path)
                if not 0 <= limit <= NANOS:
                    raise invalid(path, "tokens por segundo", "tokens per second")
                given["tokens_per_second_min"] = int(limit)
            case _ if name not in NEUTRAL:
                known = "order, only, ignore, sort, max_price, allow_fallbacks, require_parameters, data_collection, zdr"
                raise invalid(path[:100], f"um destes campos: {known}", f"one of: {known}")


def _read_sort(raw: msgspec.Raw) -> str:
    """A word, or OpenRouter's `{by, partition}`; models keep their own sequence, so that `partition` says nothing."""
    if bytes(raw)[:1] != b"{":
        return _one_of(raw, "provider.sort", SORTS)
    members = _members(raw, "provider.sort")
    if "partition" in members:
        _one_of(members["partition"], "provider.sort.partition", ("model", "none"))
    if unknown := [name for name in members if name not in ("by", "partition")]:
        raise invalid(f"provider.sort.{unknown[0]}"[:100], "'by' ou 'partition'", "'by' or 'partition'")
    return _one_of(members.get("by", msgspec.Raw(b"null")), "provider.sort.by", SORTS)


def _read_max_price(raw: msgspec.Raw) -> dict[str, int]:
    """Nanos, by the unit's name. Rounded down, which excludes nothing that costs exactly as much."""
    most: dict[str, int] = {}
    for name, value in _members(raw, "provider.max_price").items():
        path = f"provider.max_price.{name}"
        if name not in PRICED:
            raise invalid(path[:100], "um destes: " + ", ".join(PRICED), "one of: " + ", ".join(PRICED))
        if bytes(value) == b"null":
            continue
        amount = _number(value, path)
        if not 0 <= amount <= PRICE_BRL_MAX:
            raise invalid(path, "um valor em reais, de zero para cima", "an amount in reais, zero or more")
        most[PRICED[name]] = int(amount * NANOS)
    return most


def _read_budget(raw: msgspec.Raw) -> LatencyBudget:
    """A number (of the whole answer, at the median), or `{total, ttft | first_token, percentile, strict}`."""
    path = "latency_budget_ms"
    if bytes(raw)[:1] != b"{":
        return LatencyBudget(total_ms=_milliseconds(raw, path))
    given: dict[str, Any] = {}
    for name, value in _members(raw, path).items():
        inner = f"{path}.{name}"
        if bytes(value) == b"null":
            continue
        match name:
            case "total":
                given["total_ms"] = _milliseconds(value, inner)
            case "ttft" | "first_token":
                given["first_token_ms"] = _milliseconds(value, inner)
            case "percentile":
                if bytes(value).strip(b'"p') not in (b"50", b"95"):
                    raise invalid(inner, "50 ou 95", "50 or 95")
                given["percentile"] = int(bytes(value).strip(b'"p'))
            case "strict":
                given["is_strict"] = _flag(value, inner)
            case _:
                known = "total, ttft, percentile, strict"
                raise invalid(inner[:100], f"um destes campos: {known}", f"one of: {known}")
    if not given.get("total_ms") and not given.get("first_token_ms"):
        raise invalid(path, "'total' ou 'ttft', em milissegundos", "'total' or 'ttft', in milliseconds")
    return LatencyBudget(**given)


def _read_percentiles(raw: msgspec.Raw, path: str) -> tuple[Decimal, int]:
    """OpenRouter's cutoff: a number, which is of the median, or one per percentile: the median's counts, else the first."""
    if bytes(raw)[:1] != b"{":
        return _number(raw, path), 50
    members = _members(raw, path)
    if not members or any(name not in PERCENTILES for name in members):
        raise invalid(path, "um número, ou p50, p75, p90, p99", "a number, or p50, p75, p90, p99")
    name = "p50" if "p50" in members else next(iter(members))
    return _number(members[name], f"{path}.{name}"), PERCENTILES[name]


# ── Values ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _members(raw: msgspec.Raw, path: str) -> dict[str, msgspec.Raw]:
    try:
        return _decode_members(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise invalid(path, "um objeto", "an object") from None


def _value(raw: msgspec.Raw, path: str) -> Any:
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise invalid(path, "um valor simples", "a plain value") from None


def _text(raw: msgspec.Raw, path: str, most: int) -> str:
    value = _value(raw, path)
    if not isinstance(value, str) or len(value) > most:
        raise invalid(path, f"um texto de até {most} caracteres", f"a string of at most {most} characters")
    return value


def _names(raw: msgspec.Raw, path: str, count: int, most: int) -> list[str]:
    values = _value(raw, path)
    if not isinstance(values, list) or len(values) > count:
        raise invalid(path, f"uma lista de até {count} textos", f"a list of at most {count} strings")
    for index, value in enumerate(values):
        if not isinstance(value, str) or not 0 < len(value) <= most:
            raise invalid(f"{path}[{index}]", f"um texto de 1 a {most} caracteres", f"a string of 1 to {most} characters")
    return values


def _slugs(raw: msgspec.Raw, path: str) -> list[str]:
    """Providers' slugs; what follows a slash is OpenRouter's word for a variant that we do not tell apart."""
    return [name.lower().partition("/")[0] for name in _names(raw, path, SLUGS_MAX, SLUG_MAX)]


def _one_of(raw: msgspec.Raw, path: str, words: tuple[str, ...]) -> str:
    value = _value(raw, path)
    if value not in words:
        shown = ", ".join(words)
        raise invalid(path, f"um destes: {shown}", f"one of: {shown}")
    return str(value)


def _flag(raw: msgspec.Raw, path: str) -> bool:
    text = bytes(raw)
    if text not in (b"true", b"false"):
        raise invalid(path, "true ou false", "true or false")
    return text == b"true"


def _number(raw: msgspec.Raw, path: str) -> Decimal:
    """A JSON number, or a string of one, exact: never through a float."""
    text = bytes(raw).decode("utf-8", "replace").strip('"')
    if len(text) > NUMBER_CHARACTERS_MAX or not _NUMBER.fullmatch(text):
        raise invalid(path, "um número", "a number")
    try:
        return Decimal(text)
    except InvalidOperation:
        raise invalid(path, "um número", "a number") from None


def _milliseconds(raw: msgspec.Raw, path: str) -> int:
    number = _number(raw, path)
    if not 1 <= number <= BUDGET_MS_MAX:
        raise invalid(path, f"milissegundos, de 1 a {BUDGET_MS_MAX}", f"milliseconds, from 1 to {BUDGET_MS_MAX}")
    return int(number)


def _read_header_ms(value: bytes) -> int:
    return _milliseconds(msgspec.Raw(value.strip()), BUDGET_HEADER.decode())
