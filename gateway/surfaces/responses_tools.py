"""Responses' flat tools and choices → chat's. Hosted tools, which run at OpenAI, are refused by their place. Pure."""

from __future__ import annotations

from typing import Any

from gateway.errors import BadRequest

TOOLS_MAX = 128
OWN_TYPES = ("function", "custom")
# Fields of a tool that say what every tool is like here.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "defer_loading": (None, False), "async": (None, False), "allowed_callers": (None, ["direct"]), "output_schema": (None,),
}  # fmt: skip
FUNCTION_FIELDS = frozenset({"type", "name", "description", "parameters", "strict", "cache_control", *NEUTRAL})
CUSTOM_FIELDS = frozenset({"type", "name", "description", "format", *NEUTRAL})
CHOICES = ("none", "auto", "required")


def own_tools(asked: Any, dropped: list[str] | None) -> Any:
    """Those that are the caller's own, where the others may be left out (`dropped` gets their places); else all of them."""
    if dropped is None or not isinstance(asked, list):
        return asked
    own = []
    for index, tool in enumerate(asked[: 2 * TOOLS_MAX]):
        if isinstance(tool, dict) and isinstance(tool.get("type"), str) and tool["type"] not in OWN_TYPES:
            dropped.append(f"tools[{index}]")
        else:
            own.append(tool)
    return own + asked[2 * TOOLS_MAX :]


def read_tools(asked: Any) -> list[dict[str, Any]]:
    """Raises BadRequest."""
    if asked is None:
        return []
    if not isinstance(asked, list):
        raise _expected("tools", "uma lista", "an array")
    if len(asked) > TOOLS_MAX:
        raise BadRequest(
            f"'tools' tem {len(asked)} itens; o máximo é {TOOLS_MAX}.",
            f"Invalid 'tools': array too long. Expected at most {TOOLS_MAX}, got {len(asked)}.",
            param="tools", code="array_above_max_length",
        )  # fmt: skip
    return [_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(asked)]


def _read_tool(tool: Any, path: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise _expected(path, "um objeto", "an object")
    kind = tool.get("type")
    if kind not in OWN_TYPES:
        raise BadRequest(
            f"Só ferramentas suas ('function' e 'custom') são aceitas; '{str(kind)[:40]}' roda na OpenAI e não é oferecida aqui.",
            f"Only your own tools ('function' and 'custom') are supported, not '{str(kind)[:40]}'.",
            param=f"{path}.type", code="unsupported_value",
        )  # fmt: skip
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        raise _expected(f"{path}.name", "um nome", "a name")
    if tool.get("description") is not None and not isinstance(tool["description"], str):
        raise _expected(f"{path}.description", "um texto", "a string")
    for name, value in tool.items():
        if name not in (FUNCTION_FIELDS if kind == "function" else CUSTOM_FIELDS):
            raise BadRequest(
                f"Parâmetro desconhecido: '{path}.{name[:64]}'.", f"Unknown parameter: '{path}.{name[:64]}'.",
                param=f"{path}.{name[:64]}", code="unknown_parameter",
            )  # fmt: skip
        if name in NEUTRAL and value not in NEUTRAL[name]:
            raise BadRequest(
                f"'{path}.{name}' não é oferecido aqui.", f"'{path}.{name}' is not supported here.", param=f"{path}.{name}",
                code="unsupported_parameter",
            )  # fmt: skip
    return _function(tool, path) if kind == "function" else _custom(tool, path)


def _function(tool: dict[str, Any], path: str) -> dict[str, Any]:
    parameters, strict = tool.get("parameters"), tool.get("strict")
    if parameters is not None and not isinstance(parameters, dict):
        raise _expected(f"{path}.parameters", "um JSON Schema", "a JSON Schema")
    if strict is not None and not isinstance(strict, bool):
        raise _expected(f"{path}.strict", "verdadeiro ou falso", "a boolean")
    function = {name: tool[name] for name in ("name", "description", "parameters", "strict") if tool.get(name) is not None}
    translated: dict[str, Any] = {"type": "function", "function": function}
    if isinstance(tool.get("cache_control"), dict):
        translated["cache_control"] = tool["cache_control"]
    return translated


def _custom(tool: dict[str, Any], path: str) -> dict[str, Any]:
    custom = {name: tool[name] for name in ("name", "description") if tool.get(name) is not None}
    form = tool.get("format")
    if form is not None:
        kind = form.get("type") if isinstance(form, dict) else None
        if kind == "grammar":
            custom["format"] = {"type": "grammar", "grammar": {name: form.get(name) for name in ("syntax", "definition")}}
        elif kind == "text":
            custom["format"] = {"type": "text"}
        else:
            raise _expected(f"{path}.format.type", "'text' ou 'grammar'", "'text' or 'grammar'")
    return {"type": "custom", "custom": custom}


def read_tool_choice(asked: Any, tools: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Any]:
    """The tools to send, and chat's tool_choice for them.

    `allowed_tools` sends only those that are allowed: every dialect can say that. Raises BadRequest.
    """
    if asked is None:
        return tools, "auto"
    if isinstance(asked, str):
        if asked not in CHOICES:
            raise _expected("tool_choice", f"um destes: {', '.join(CHOICES)}", f"one of: {', '.join(CHOICES)}")
        if asked == "required" and not tools:
            raise _expected("tool_choice", "'tools' junto com 'required'", "'tools' beside 'required'")
        return tools, asked
    if not isinstance(asked, dict):
        raise _expected("tool_choice", "um texto ou um objeto", "a string or an object")
    kind = asked.get("type")
    if kind in OWN_TYPES:
        _find(tools, kind, asked.get("name"), "tool_choice.name")
        return tools, {"type": kind, kind: {"name": asked["name"]}}
    if kind == "allowed_tools":
        return _allowed(asked, tools)
    raise BadRequest(
        f"'tool_choice' do tipo '{str(kind)[:40]}' não é oferecido aqui.",
        f"A 'tool_choice' of type '{str(kind)[:40]}' is not supported here.",
        param="tool_choice.type", code="unsupported_value",
    )  # fmt: skip


def _allowed(asked: dict[str, Any], tools: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Any]:
    if asked.get("mode") not in ("auto", "required"):
        raise _expected("tool_choice.mode", "'auto' ou 'required'", "'auto' or 'required'")
    named = asked.get("tools")
    if not isinstance(named, list) or not 0 < len(named) <= TOOLS_MAX:
        raise _expected("tool_choice.tools", "uma lista de ferramentas", "an array of tools")
    allowed = []
    for index, tool in enumerate(named):
        path = f"tool_choice.tools[{index}]"
        if not isinstance(tool, dict):
            raise _expected(path, "um objeto", "an object")
        allowed.append(_find(tools, tool.get("type"), tool.get("name"), path))
    return [tool for tool in tools if tool in allowed], asked["mode"]


def _find(tools: list[dict[str, Any]], kind: Any, name: Any, path: str) -> dict[str, Any]:
    for tool in tools:
        if tool["type"] == kind and tool[kind]["name"] == name:
            return tool
    raise _expected(path, "uma das ferramentas de 'tools'", "one of 'tools'")


def echo_tools(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the answer shows them: what was left out has its value. Strict only where it was asked for."""
    return [
        {"description": None, "parameters": None, "strict": False, **_said(tool)} if tool["type"] == "function" else tool
        for tool in asked
    ]


def _said(tool: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tool.items() if value is not None}


def _expected(param: str, expected: str, english: str) -> BadRequest:
    return BadRequest(
        f"Valor inválido em '{param}': esperado {expected}.", f"Invalid value for '{param}': expected {english}.", param=param
    )
