"""OpenAI's moderation. Its answer tells no usage."""

from __future__ import annotations

import msgspec

from gateway.calls import ServedDeployment
from gateway.dialects.base import UpstreamRequest, malformed
from gateway.dialects.media import MediaTally, decode_members
from gateway.dialects.openai import read_error, request_headers
from gateway.moderation_call import ModerationCall

__all__ = ["moderation_request", "read_error", "read_moderation"]


class _Result(msgspec.Struct):
    flagged: bool


class Moderation(msgspec.Struct):
    """A whole answer: its bytes as they came."""

    body: bytes
    tally: MediaTally

    def with_usage(self, usage_raw: bytes) -> bytes:
        """The shape has no place for it."""
        return self.body


_decode_results = msgspec.json.Decoder(list[_Result]).decode


def moderation_request(call: ModerationCall, deployment: ServedDeployment) -> UpstreamRequest:
    fields = {name: raw for name, raw in call.fields.items() if name != "drop_params"}
    fields["model"] = msgspec.Raw(msgspec.json.encode(deployment.upstream_model))
    return UpstreamRequest(deployment.base_url + "/moderations", request_headers(deployment), msgspec.json.encode(fields))


def read_moderation(call: ModerationCall, body: bytes) -> Moderation:
    """Raises UpstreamError where the body is not an answer."""
    try:
        results = len(_decode_results(decode_members(body)["results"]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        raise malformed() from None
    if results != call.results:
        raise malformed("The provider gave another number of results.")
    return Moderation(body, MediaTally(is_complete=True, delivered=len(body)))
