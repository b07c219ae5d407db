"""What a call asks of a model, against what its route can do: refused by name before money is held. Pure.

Content that a model can't take (a picture, sound, a document) is always refused, by its path: an answer without it would be an
answer to something else. A parameter is left out where the caller said `"drop_params": true`, and its name is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.calls import ChatCall, ServedRoute
from gateway.errors import BadRequest

# Parts of a message, the capability that each needs, and what it is called.
PARTS: Final = {
    "image_url": ("vision", "imagens", "images"),
    "input_audio": ("audio", "áudio", "audio"),
    "file": ("files", "arquivos", "files"),
}
# What says nothing without the parameter.
COMPANIONS: Final = {"tools": ("tool_choice", "parallel_tool_calls"), "functions": ("function_call",), "modalities": ("audio",)}


def check_abilities(call: ChatCall, route: ServedRoute) -> ChatCall:
    """The call, without the parameters that its caller wants left out. Raises BadRequest `unsupported_parameter` for a parameter,
    `unsupported_value` for a part or a value, naming its path."""
    can = route.capabilities
    for index, message in enumerate(call.messages):
        if isinstance(message.content, list):
            for place, part in enumerate(message.content):
                if part.type not in PARTS:
                    continue
                if PARTS[part.type][0] not in can:
                    raise _refuse_part(f"messages[{index}].content[{place}]", part.type, route)
                if part.file is not None and "file_id" in part.file:
                    raise _refuse_file_id(f"messages[{index}].content[{place}].file.file_id")
    lacking = [param for param in _parameters(call.fields, call.decoded) if _need_of(param) not in can]
    if "reasoning_effort" in lacking and route.is_reasoning:
        lacking.remove("reasoning_effort")
    return _leave_out(call, lacking, route) if lacking else call


def _parameters(fields: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """The names of what was asked for and needs a capability. (A call that is carried in its own words has fields undecoded.)"""
    found = [name for name in ("tools", "functions") if name in fields and asked.get(name, True)]
    if "reasoning_effort" in fields and asked.get("reasoning_effort") not in (None, "none"):
        found.append("reasoning_effort")
    if "response_format" in fields:
        format_ = asked.get("response_format")
        if isinstance(format_, dict) and str(format_.get("type")).startswith("json_"):
            found.append("response_format")
    if "modalities" in fields:
        kinds = asked.get("modalities")
        if isinstance(kinds, list) and "audio" in kinds:
            found.append("modalities")
    return found


def _need_of(param: str) -> str:
    match param:
        case "reasoning_effort":
            return "reasoning"
        case "response_format":
            return "json"
        case "modalities":
            return "audio_output"
    return "tools"


def _leave_out(call: ChatCall, lacking: list[str], route: ServedRoute) -> ChatCall:
    if not call.drops_unsupported:
        param = lacking[0]
        raise BadRequest(
            f"O modelo '{route.name}' não aceita '{param}'. Tire-o, ou envie \"drop_params\": true para que ele seja ignorado.",
            f"The model '{route.name}' does not support '{param}'. Remove it, or send \"drop_params\": true to have it ignored.",
            param=param,
            code="unsupported_parameter",
        )
    out = {name for param in lacking for name in (param, *COMPANIONS.get(param, ()))}
    return msgspec.structs.replace(
        call,
        fields={name: raw for name, raw in call.fields.items() if name not in out},
        decoded={name: value for name, value in call.decoded.items() if name not in out},
        dropped=(*call.dropped, *lacking),
    )


def refuse_dropped(param: str, route: ServedRoute) -> BadRequest:
    """Where the caller said that nothing may be left out (`provider.require_parameters`)."""
    return BadRequest(
        f"Nenhum provedor de '{route.name}' atende '{param}', e 'provider.require_parameters' pede que nada fique de fora.",
        f"No provider of '{route.name}' supports '{param}', and 'provider.require_parameters' asks that nothing is left out.",
        param=param,
        code="unsupported_parameter",
    )


def _refuse_part(path: str, kind: str, route: ServedRoute) -> BadRequest:
    _, portuguese, english = PARTS[kind]
    return BadRequest(
        f"O modelo '{route.name}' não aceita {portuguese}, que vieram em '{path}'. Veja o que cada um aceita em GET /v1/models.",
        f"The model '{route.name}' does not take {english}, which came in '{path}'. See GET /v1/models for what each takes.",
        param=path,
        code="unsupported_value",
    )


def _refuse_file_id(path: str) -> BadRequest:
    """A provider's files belong to its account, which all our customers share: whose file it is, nobody there asks."""
    return BadRequest(
        f"'{path}' não é aceito: envie o conteúdo do arquivo em 'file_data'.",
        f"'{path}' is not accepted: send the file's content in 'file_data'.",
        param=path,
        code="unsupported_value",
    )
