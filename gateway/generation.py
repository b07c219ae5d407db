"""The parent of `/v1/generation`: what became of a call, in OpenRouter's words, and what its caller thinks of the answer.

A record is there as soon as the last byte of its answer has left: the settlement that writes it is committed before. While the
ledger is away it waits in the spool, and is told later.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.calls import Caller, Reply
from gateway.errors import BadRequest, GatewayError, unknown_address, wrong_method
from gateway.files import read_query
from gateway.pricetag import decimal_brl
from gateway.reading import Row
from gateway.secrets import seal
from tokia import clock

if TYPE_CHECKING:
    from gateway.exchange import Exchange
    from gateway.process import GatewayProcess

JSON_TYPE = (b"content-type", b"application/json")
BODY_BYTES_MAX = 65_536
ID_CHARACTERS_MAX = 200
COMMENT_CHARACTERS_MAX = 2_000
RECENT_CALLS = 5_000  # of one organization: among them a call is found by its answer's id
RECENT_DAYS = 30
SCORES = {"up": 1, "down": -1}
_ID = re.compile(r"[\x21-\x7e]+")
# What our surfaces write before a call's own id.
_PREFIX = re.compile(r"^(?:chatcmpl|gen|resp|msg|cmpl|req)[-_]")
_COLUMNS = """
SELECT u.*, f.score AS feedback_score, f.created_at AS feedback_at
FROM billing_usagerecord u LEFT JOIN gateway_feedback f ON f.call_id = u.id
"""
_BY_ID = f"{_COLUMNS} WHERE u.id = %(id)s AND u.organization_id = %(organization)s"
_BY_UPSTREAM_ID = f"""{_COLUMNS} WHERE u.organization_id = %(organization)s AND u.id = (
  SELECT recent.id FROM (
    SELECT id, upstream_id FROM billing_usagerecord WHERE organization_id = %(organization)s AND id >= %(since)s
    ORDER BY id DESC LIMIT {RECENT_CALLS}
  ) recent WHERE recent.upstream_id = %(upstream_id)s ORDER BY recent.id DESC LIMIT 1)"""  # noqa: S608 - constants
_HELD = "SELECT 1 AS found FROM billing_hold WHERE id = %(id)s AND wallet_id = %(wallet)s"
_GIVE_FEEDBACK = """
INSERT INTO gateway_feedback (call_id, organization_id, score, comment, created_at)
SELECT u.id, u.organization_id, %(score)s, %(comment)s, %(now)s FROM billing_usagerecord u
WHERE u.id = %(id)s AND u.organization_id = %(organization)s
ON CONFLICT (call_id) DO UPDATE SET score = excluded.score, comment = excluded.comment, created_at = excluded.created_at
RETURNING call_id
"""
_INPUTS = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "audio_input_tokens", "image_input_tokens")
_OUTPUTS = ("output_tokens", "reasoning_tokens", "audio_output_tokens", "image_output_tokens")
_UNITS = ("images", "audio_seconds", "characters", "searches")


async def serve_generation(process: GatewayProcess, exchange: Exchange, caller: Caller, rest: str) -> Reply:
    """`GET /v1/generation?id=`, `POST /v1/generation/feedback`. Raises GatewayError, ClientGone."""
    method: str = exchange.scope["method"]
    if rest == "feedback":
        if method != "POST":
            raise wrong_method(method)
        return await take_feedback(process, caller, await exchange.read_body(limit=BODY_BYTES_MAX))
    if rest:
        raise unknown_address(f"/v1/generation/{rest}")
    if method != "GET":
        raise wrong_method(method)
    row = await find_call(process, caller, read_query(exchange.scope["query_string"]).get("id", ""))
    return Reply(200, [JSON_TYPE, (b"cache-control", b"no-store")], msgspec.json.encode({"data": show_call(row)}))


async def find_call(process: GatewayProcess, caller: Caller, id_: str) -> Row:
    """One call of the caller's organization, by its `x-request-id`, or by the id of its answer among the last RECENT_CALLS.

    Raises BadRequest, GatewayError (404), Unavailable."""
    check_id(id_)
    values: dict[str, Any] = {"organization": caller.organization_id, "wallet": caller.wallet_id}
    if (call_id := call_id_of(id_)) is not None:
        values["id"] = call_id
        if (row := await process.reads.fetch_one(_BY_ID, values)) is not None:
            return row
        if await process.reads.fetch_one(_HELD, values) is not None:
            raise _still_running()
    since = clock.now() - dt.timedelta(days=RECENT_DAYS)
    values |= {"upstream_id": id_, "since": uuid.UUID(int=int(since.timestamp() * 1000) << 80)}
    row = await process.reads.fetch_one(_BY_UPSTREAM_ID, values)
    if row is None:
        raise _not_found(id_)
    return row


def check_id(id_: str) -> None:
    if not id_ or len(id_) > ID_CHARACTERS_MAX or not _ID.fullmatch(id_):
        raise BadRequest(
            "Informe 'id': o x-request-id da chamada, ou o id da resposta.",
            "Give 'id': the call's x-request-id, or the id of its answer.",
            param="id", code="missing_required_parameter" if not id_ else "invalid_value",
        )  # fmt: skip


def call_id_of(id_: str) -> uuid.UUID | None:
    """The call's own id where this is one, with or without what a surface writes before it."""
    try:
        return uuid.UUID(_PREFIX.sub("", id_))
    except ValueError:
        return None


# ── As OpenRouter tells it ───────────────────────────────────────────────────────────────────────────────────────────
def show_call(row: Row) -> dict[str, Any]:
    """Times in ms, amounts exact decimals in reais. What we pay the provider is nobody's to know."""
    routing: dict[str, Any] = row["routing"] or {}
    first_token_ms, latency_ms = row["first_token_ms"], row["latency_ms"]
    prompt, completion = (sum(row[name] for name in names) for names in (_INPUTS, _OUTPUTS))
    net, gross = row["net_nanos"], row["gross_nanos"]
    is_hit = row["usage_source"] == "cache"
    return {
        "id": str(row["id"]),
        "request_id": str(row["id"]),
        "upstream_id": row["upstream_id"] or None,
        "api_type": row["surface"],
        "model": row["route_name"],
        "provider_name": row["provider_name"] or None,
        "created_at": row["created_at"].astimezone(dt.UTC).isoformat().replace("+00:00", "Z"),
        "status": row["outcome"],
        "http_status": row["status_code"],
        "error_code": row["error_code"] or None,
        "streamed": row["is_stream"],
        "cancelled": row["outcome"] == "cancelled",
        "finish_reason": row["finish_reason"] or None,
        "native_finish_reason": row["finish_reason"] or None,
        "latency": first_token_ms if first_token_ms is not None else latency_ms,
        "generation_time": latency_ms - (first_token_ms or 0),
        "total_time": latency_ms,
        "overhead_ms": row["overhead_us"] / 1000,
        "tokens_prompt": prompt,
        "tokens_completion": completion,
        "native_tokens_prompt": prompt,
        "native_tokens_completion": completion,
        "native_tokens_reasoning": row["reasoning_tokens"],
        "native_tokens_cached": row["cached_input_tokens"],
        "native_tokens_cache_write": row["cache_write_tokens"],
        **{name: row[name] for name in _UNITS if row[name]},
        "usage_source": row["usage_source"],
        "usage": _brl(net),
        "total_cost": _brl(net),
        "cost_details": {"currency": "BRL", "list_cost": _brl(gross), "discount": _brl(gross - net)},
        "is_byok": row["is_own_key"],
        "response_cache": "HIT" if is_hit else None,
        "session_id": routing.get("session") or None,
        "router": routing.get("rule") or None,
        "routing": {
            "asked": routing.get("asked") or row["route_name"],
            "rule": routing.get("rule") or None,
            "why": routing.get("why") or [],
            "skipped": routing.get("skipped") or [],
            "session": routing.get("session") or None,
            "experiment": routing.get("experiment") or None,
            "arm": routing.get("arm") or None,
        },
        "provider_responses": [show_attempt(attempt, row) for attempt in row["attempts"]],
        "feedback": {"score": row["feedback_score"]} if row["feedback_score"] else None,
    }


def show_attempt(attempt: dict[str, Any], row: Row) -> dict[str, Any]:
    """One try at one deployment, whatever is left out filled in."""
    return {
        "provider_name": attempt.get("provider", ""),
        "model": attempt.get("route") or row["route_name"],
        "upstream_model": attempt.get("model", ""),
        "status": attempt.get("status") or None,
        "error": attempt.get("error") or None,
        "latency": attempt.get("ms", 0),
        "first_token_ms": attempt.get("first_token_ms") or None,
        "circuit": attempt.get("circuit") or "closed",
        "is_byok": attempt.get("is_own_key", False),
        "is_resent": attempt.get("is_resent", False),
    }


def _brl(nanos: int) -> msgspec.Raw:
    return msgspec.Raw(decimal_brl(nanos))


# ── Feedback ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class FeedbackBody(msgspec.Struct):
    generation_id: str = ""
    id: str = ""
    score: int | None = None
    rating: str | None = None
    comment: str = ""


async def take_feedback(process: GatewayProcess, caller: Caller, body: bytes) -> Reply:
    """The last word counts. Raises BadRequest, GatewayError (404), Unavailable."""
    given = read_feedback(body)
    score = SCORES[given.rating] if given.rating is not None else given.score
    row = await find_call(process, caller, given.generation_id or given.id)
    comment = seal(given.comment.encode(), organization_id=caller.organization_id) if given.comment else b""
    values = {"id": row["id"], "organization": caller.organization_id, "score": score, "comment": comment, "now": clock.now()}
    if await process.reads.fetch_one(_GIVE_FEEDBACK, values) is None:
        raise _not_found(str(row["id"]))
    return Reply(200, [JSON_TYPE], msgspec.json.encode({"data": {"id": str(row["id"]), "score": score}}))


def read_feedback(body: bytes) -> FeedbackBody:
    """Raises BadRequest."""
    try:
        given = msgspec.json.decode(body, type=FeedbackBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(
            "O corpo não é o JSON esperado: generation_id, score (1 ou -1) ou rating (up ou down), comment.",
            "The body is not the JSON expected: generation_id, score (1 or -1) or rating (up or down), comment.",
        ) from None
    if (given.rating is None) == (given.score is None) or (given.rating or "up") not in SCORES or (given.score or 1) not in (1, -1):
        raise BadRequest(
            "Informe 'score' (1 ou -1) ou 'rating' (up ou down).", "Give 'score' (1 or -1) or 'rating' (up or down).",
            param="score" if given.rating is None else "rating",
        )  # fmt: skip
    if given.score == 0:
        raise BadRequest("'score' é 1 ou -1.", "'score' is 1 or -1.", param="score")
    if len(given.comment) > COMMENT_CHARACTERS_MAX:
        raise BadRequest(
            f"O comentário tem no máximo {COMMENT_CHARACTERS_MAX} caracteres.",
            f"The comment has at most {COMMENT_CHARACTERS_MAX} characters.", param="comment",
        )  # fmt: skip
    return given


def _not_found(id_: str) -> GatewayError:
    shown = id_[:60]
    return GatewayError(
        f"Nenhuma chamada '{shown}' desta empresa. Registros aparecem quando a chamada termina.",
        f"No call '{shown}' of this organization. A record appears when the call ends.",
        param="id", code="generation_not_found", status=404,
    )  # fmt: skip


def _still_running() -> GatewayError:
    return GatewayError(
        "Esta chamada ainda está em andamento. Tente de novo quando ela terminar.",
        "This call is still running. Try again when it has ended.",
        param="id", code="generation_running", status=404, retry_after_seconds=1,
    )  # fmt: skip
