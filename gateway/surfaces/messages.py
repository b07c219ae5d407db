"""`/v1/messages`: Anthropic's Messages, for every chat model that we sell.

A deployment that speaks Messages gets the caller's own bytes (`dialects.messages_native`); for any other the body becomes a chat
completion (`messages_request`, `messages_content`) and the answer comes back as a message (`messages_answer`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import msgspec

from gateway.calls import CallContext, Caller, ChatCall, Message, ServedDeployment, ServedRoute
from gateway.dialects import messages_native
from gateway.dialects.base import Dialect
from gateway.dialects.messages_native import frame_of
from gateway.dialects.messages_terms import read_terms
from gateway.errors import BadRequest, BudgetExceeded, GatewayError
from gateway.planning import route_alone
from gateway.surfaces.messages_answer import MessageShaper, shape_message
from gateway.surfaces.messages_request import Asked, encode_fields, outline_messages, parse_message, translate_message
from tokia.errors import TokiaError

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

NATIVE_DIALECT = "anthropic"
NATIVE = cast(Dialect, messages_native)
DROPS_HEADER = b"x-tokia-drop-params"
OVERLOADED_STATUS = 529
KINDS = {
    401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large",
    429: "rate_limit_error", 500: "api_error", 502: "api_error", 503: "overloaded_error", 504: "timeout_error",
    OVERLOADED_STATUS: "overloaded_error",
}  # fmt: skip
# What a dialect calls a field, and what the caller called it.
NAMES = {
    "max_completion_tokens": "max_tokens", "stop": "stop_sequences", "user": "metadata.user_id", "reasoning_effort": "thinking",
    "response_format": "output_config.format", "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
}  # fmt: skip
_MESSAGE_PATH = re.compile(r"messages\[(\d+)\]")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_.\[\]-]{1,100}")
_decode_messages = msgspec.json.Decoder(list[Message]).decode


class Messages:
    """The surface, for one call. Without a context it only words refusals."""

    name = "messages"

    def __init__(self, context: CallContext | None = None) -> None:
        self._context = context
        self._paths: list[str] = []  # where each message of the translation came from
        self._dropped: list[str] = []  # what the translation left out

    # ── In ───────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def read_call(self, process: GatewayProcess, caller: Caller, body: bytes) -> ChatCall:
        asked = parse_message(body)
        route = route_alone(process, caller, asked.typed.model, self._context)
        return self._read(asked, route, body, is_mixed=route is None)

    def read_count(self, body: bytes) -> ChatCall:
        """A body that is only counted: no answer is asked for, and nothing is translated."""
        return self._read(parse_message(body, is_count=True), None, body)

    def _read(self, asked: Asked, route: ServedRoute | None, body: bytes, *, is_mixed: bool = False) -> ChatCall:
        """Translated only where the route has a deployment that needs it, or where who serves it may be of any route
        (`is_mixed`). Where another one does not, what can't be translated is no refusal yet: it is kept with the call, for the
        deployments that it concerns."""
        headers = self._context.asked if self._context is not None else {}
        terms = read_terms(_text(headers, b"anthropic-version"), _text(headers, b"anthropic-beta"))
        drops = bool(asked.typed.drop_params) or _text(headers, DROPS_HEADER).lower() in ("1", "true")
        natives = [self.native(deployment) is not None for deployment in route.deployments] if route is not None else [True]
        if is_mixed:
            natives = [True, False]
        fields: dict[str, msgspec.Raw] = {name: asked.members[name] for name in ("tools",) if name in asked.members}
        decoded: dict[str, Any] = {}
        messages, refusal = None, None
        if not all(natives):
            can_reason = route is None or route.is_reasoning or "reasoning" in route.capabilities
            try:
                translated = translate_message(asked, drops=drops, can_reason=can_reason)
            except BadRequest as error:
                if not any(natives):
                    raise
                refusal = error.with_traceback(None)  # no frame is kept with the call
            else:
                if not any(natives):
                    self._paths = translated.paths
                decoded, fields = translated.fields, encode_fields(translated.fields)
                messages = _decode_messages(fields["messages"])
                self._dropped = [*translated.dropped, *(["anthropic-beta"] if terms.betas or terms.dropped else [])]
        return ChatCall(
            model=asked.typed.model, fields=fields, decoded=decoded,
            messages=outline_messages(asked.decoded) if messages is None else messages, body_bytes=len(body),
            is_stream=bool(asked.typed.stream), wants_usage=False, output_tokens_asked=asked.typed.max_tokens, choices=1,
            drops_unsupported=drops, native=asked.members, refusal=refusal, told=terms,
        )  # fmt: skip

    def _name_dropped(self) -> None:
        """Once it is a translation that answers."""
        names = [
            name for name in self._dropped if _PLAIN_PATH.fullmatch(name)
        ]  # a field that we do not know may be called anything
        self._dropped = []
        if names and self._context is not None:
            self._context.headers.append((b"x-tokia-dropped-params", ",".join(names[:50]).encode()))

    def native(self, deployment: ServedDeployment) -> Dialect | None:
        return NATIVE if deployment.dialect == NATIVE_DIALECT else None

    # ── Out ──────────────────────────────────────────────────────────────────────────────────────────────────────────
    def shape_answer(self, call: ChatCall, route: ServedRoute, completion: bytes) -> bytes:
        self._name_dropped()
        return shape_message(call, route, completion)

    def open_shaper(self, call: ChatCall, route: ServedRoute) -> MessageShaper:
        def write_error(error: GatewayError, is_english: bool) -> bytes:
            return self.error_frame(error, is_english=is_english, request_id="")

        self._name_dropped()
        return MessageShaper(call, route, write_error=write_error)

    def keeps(self, call: ChatCall) -> bool:
        return False

    async def keep(self, process: GatewayProcess, caller: Caller, call: ChatCall, last: bytes) -> bytes:
        return last

    # ── Refused ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def reword(self, error: GatewayError) -> GatewayError:
        """A refusal of the walk in the caller's terms: its paths, and the status that Anthropic's clients take for an overload."""
        if error.status == 503:
            error.status = OVERLOADED_STATUS
        if error.param and error.status == 400:
            path = self._home_path(error.param)
            if path != error.param:
                error.message = error.message.replace(f"'{error.param}'", f"'{path}'")
                error.english = error.english.replace(f"'{error.param}'", f"'{path}'")
                error.param = path
        return error

    def _home_path(self, path: str) -> str:
        if not self._paths:
            return path
        if found := _MESSAGE_PATH.match(path):
            place = int(found[1])
            if place >= len(self._paths):
                return path
            home = self._paths[place]  # which of its blocks it was is lost: parts are not counted as blocks are
            return home if home == "system" else f"{home}.content"
        return NAMES.get(path, path)

    def error_body(self, error: TokiaError, *, is_english: bool, request_id: str) -> bytes:
        message = error.english if is_english and isinstance(error, GatewayError) else error.message
        known = request_id or (self._context.id if self._context is not None else "")
        details: dict[str, Any] = {name: value for name, value in (("error_code", error.code), ("param", error.param)) if value}
        if isinstance(error, GatewayError) and error.usage_raw:  # a stream that broke
            details["usage"] = msgspec.Raw(error.usage_raw)
        if isinstance(error, BudgetExceeded) and error.budget_raw:
            details["budget"] = msgspec.Raw(error.budget_raw)
        kind = KINDS.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
        return msgspec.json.encode(
            {"type": "error", "error": {"type": kind, "message": message, "details": details}, "request_id": known or None}
        )

    def error_frame(self, error: TokiaError, *, is_english: bool, request_id: str) -> bytes:
        return frame_of("error", self.error_body(error, is_english=is_english, request_id=request_id))


def _text(headers: Any, name: bytes) -> str:
    value: bytes = headers.get(name, b"")
    return value.decode("latin-1").strip()


SURFACE = Messages()
