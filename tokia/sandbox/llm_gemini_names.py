"""The names that Gemini's requests may have, at any depth, with their JSON types. Any other name is refused, as Google does.

A leaf is a type; a list of one is a repeated field; a dict is a message. FREE takes any JSON.
"""

from __future__ import annotations

from typing import Any

from tokia.sandbox.asgi import Json
from tokia.sandbox.llm_refusals import ProviderError

FREE = object()
NUMBER = (int, float)

SCHEMA: dict[str, Any] = {
    "type": str, "format": str, "title": str, "description": str, "nullable": bool, "enum": [str], "maxItems": FREE,
    "minItems": FREE, "properties": FREE, "required": [str], "minProperties": FREE, "maxProperties": FREE, "minLength": FREE,
    "maxLength": FREE, "pattern": str, "example": FREE, "anyOf": FREE, "propertyOrdering": [str], "default": FREE, "items": FREE,
    "minimum": NUMBER, "maximum": NUMBER,
}  # fmt: skip
_BLOB = {"mimeType": str, "data": str}
_PART: dict[str, Any] = {
    "text": str, "thought": bool, "thoughtSignature": str, "inlineData": _BLOB, "fileData": {"mimeType": str, "fileUri": str},
    "functionCall": {"id": str, "name": str, "args": FREE},
    "functionResponse": {
        "id": str, "name": str, "response": FREE, "parts": [{"inlineData": _BLOB}], "willContinue": bool, "scheduling": str,
    },
    "executableCode": {"language": str, "code": str}, "codeExecutionResult": {"outcome": str, "output": str},
    "videoMetadata": FREE, "mediaResolution": FREE, "partMetadata": FREE,
}  # fmt: skip
CONTENT: dict[str, Any] = {"role": str, "parts": [_PART]}
GENERATE: dict[str, Any] = {
    "model": str,
    "contents": [CONTENT],
    "systemInstruction": CONTENT,
    "tools": [
        {
            "functionDeclarations": [
                {
                    "name": str, "description": str, "behavior": str, "parameters": SCHEMA, "parametersJsonSchema": FREE,
                    "response": SCHEMA, "responseJsonSchema": FREE,
                }
            ],
            "googleSearch": FREE, "codeExecution": FREE, "urlContext": FREE,
        }
    ],
    "toolConfig": {"functionCallingConfig": {"mode": str, "allowedFunctionNames": [str]}},
    "safetySettings": [{"category": str, "threshold": str}],
    "cachedContent": str,
    "generationConfig": {
        "stopSequences": [str], "responseMimeType": str, "responseSchema": SCHEMA, "responseJsonSchema": FREE,
        "responseModalities": [str], "candidateCount": int, "maxOutputTokens": int, "temperature": NUMBER, "topP": NUMBER,
        "topK": NUMBER, "seed": int, "presencePenalty": NUMBER, "frequencyPenalty": NUMBER, "responseLogprobs": bool,
        "logprobs": int, "enableEnhancedCivicAnswers": bool, "speechConfig": FREE, "imageConfig": FREE, "mediaResolution": str,
        "thinkingConfig": {"includeThoughts": bool, "thinkingBudget": int, "thinkingLevel": str},
    },
}  # fmt: skip
EMBED: dict[str, Any] = {"model": str, "content": CONTENT, "taskType": str, "title": str, "outputDimensionality": int}
BATCH_EMBED: dict[str, Any] = {"requests": [EMBED]}
_TYPE_NAMES = {str: "TYPE_STRING", bool: "TYPE_BOOL", int: "TYPE_INT32", NUMBER: "TYPE_FLOAT"}


def refuse_unknown(value: Json, shape: Any, path: str = "") -> None:
    """Raise ProviderError for the first name that is not known, or value that is not of its type."""
    if shape is FREE:
        return
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise _wrong(path, "a message", value)
        for name, inner in value.items():
            if name not in shape:
                where = f" at '{path}'" if path else ""
                raise bad(f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.')
            if inner is not None:
                refuse_unknown(inner, shape[name], f"{path}.{name}" if path else name)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise _wrong(path, "a list", value)
        for index, inner in enumerate(value):
            refuse_unknown(inner, shape[0], f"{path}[{index}]")
    elif not isinstance(value, shape) or (isinstance(value, bool) and shape is not bool):
        raise _wrong(path, _TYPE_NAMES[shape], value)


def in_camel_case(value: Json, shape: Any) -> Json:
    """The same with its names as they are written here: Google takes `generation_config` as well."""
    if isinstance(value, list) and isinstance(shape, list):
        return [in_camel_case(inner, shape[0]) for inner in value]
    if not isinstance(value, dict) or not isinstance(shape, dict):
        return value
    named = {}
    for name, inner in value.items():
        head, *rest = name.split("_")
        camel = head + "".join(part.title() for part in rest)
        name = camel if camel in shape else name
        named[name] = in_camel_case(inner, shape.get(name, FREE))
    return named


def bad(message: str) -> ProviderError:
    return ProviderError(400, message)


def _wrong(path: str, kind: str, value: Json) -> ProviderError:
    return bad(f"Invalid value at '{path}' ({kind}), {str(value)[:80]}")
