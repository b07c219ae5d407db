"""Bytes → a call. Every limit of a body has its name and number here.

Three passes, each in C: the typed fields that we need, the top-level members byte for byte (so that what we do not touch reaches
the upstream exactly as it came), and the whole as Python objects. A body that has as many quotes when written again has no key
twice; any other is read once more by `json`, which sees duplicate keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import msgspec

from gateway.calls import ChatCall, EmbeddingsCall, Message
from gateway.errors import BadRequest

DEPTH_MAX = 64
QUOTES_MAX = 200_000  # of strings, keys included: two each
MEMBERS_MAX = 200_000  # commas, or brackets, outside of strings
MEMBERS_UNCHECKED_BYTES = 400_000  # a smaller body can't hold as many: a value and its comma are two bytes
TOKEN_ARRAY_MAX = 2_000_000  # commas in an embeddings body: token arrays are long
MODEL_NAME_MAX = 200
MESSAGES_MAX = 10_000
TOOLS_MAX = 1_000  # far more than any model takes
CHOICES_MAX = 16
IMAGES_MAX = 100
INPUTS_MAX = 2_048
OUTPUT_TOKENS_ASKED_MAX = 10_000_000
ROLES = frozenset({"developer", "system", "user", "assistant", "tool", "function"})
# A caller never chooses where or with whose key the upstream is called.
FORBIDDEN_FIELDS = frozenset({"api_base", "base_url", "api_key", "api_version", "extra_headers", "custom_llm_provider"})
# Their insides belong to the caller: a tool may well have a parameter named api_key.
FREE_FIELDS = frozenset(
    {
        "messages", "tools", "functions", "response_format", "input", "metadata", "text", "system", "output_config",
        "output_format", "documents",
    }
)  # fmt: skip

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_QUOTE_ESCAPED = b"\\u0022"
_NOT_MARKS = bytes(set(range(256)) - set(b'"{[,'))
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_PATH = re.compile(r" - at `\$\.?(.*?)`$")
_EXPECTED = re.compile(r"Expected `([^`]*)`")

T = TypeVar("T")


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatBody(msgspec.Struct):
    """The fields of a chat completion that we read, with OpenAI's types. The rest passes through."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: str | list[str] | None = None
    tools: list[dict[str, msgspec.Raw]] | None = None
    functions: list[dict[str, msgspec.Raw]] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, msgspec.Raw] | None = None
    user: str | None = None
    drop_params: bool | None = None  # ours: leave out what the model can't take


class EmbeddingsBody(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    encoding_format: str | None = None
    dimensions: int | None = None
    user: str | None = None


_decode_chat = msgspec.json.Decoder(ChatBody).decode
_decode_embeddings = msgspec.json.Decoder(EmbeddingsBody).decode
_decode_whole: Callable[[bytes], dict[str, Any]] = msgspec.json.Decoder(dict[str, Any]).decode
_encode_whole = msgspec.json.Encoder().encode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Duplicate(ValueError):
    """The key that came twice."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _Duplicate(name)
            seen.add(name)
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_decode_objects = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant).decode


def _decode_counted_chat(body: bytes) -> ChatBody:
    """Before the rest of the work is done for tools that are refused anyway."""
    typed = _decode_chat(body)
    for name, tools in (("tools", typed.tools), ("functions", typed.functions)):
        if tools is not None and len(tools) > TOOLS_MAX:
            raise invalid(name, f"no máximo {TOOLS_MAX} ferramentas", f"at most {TOOLS_MAX} tools")
    return typed


def parse_chat(body: bytes) -> ChatCall:
    """Raises BadRequest, with the path of the field at fault."""
    typed, fields, decoded = _parse(body, _decode_counted_chat, members_max=MEMBERS_MAX)
    _check_model(typed.model)
    _check_messages(typed.messages)
    n = 1 if typed.n is None else typed.n
    if not 1 <= n <= CHOICES_MAX:
        raise invalid("n", f"um inteiro de 1 a {CHOICES_MAX}", f"an integer from 1 to {CHOICES_MAX}")
    asked = typed.max_completion_tokens if typed.max_completion_tokens is not None else typed.max_tokens
    if asked is not None and not 1 <= asked <= OUTPUT_TOKENS_ASKED_MAX:
        name = "max_tokens" if typed.max_completion_tokens is None else "max_completion_tokens"
        raise invalid(name, "um inteiro maior que zero", "an integer above zero")
    if typed.stream_options is not None and not typed.stream:
        raise BadRequest(
            "'stream_options' só vale junto com 'stream': true.",
            "'stream_options' is only allowed when 'stream' is true.",
            param="stream_options",
        )
    if typed.drop_params is not None:
        fields.pop("drop_params")
    return ChatCall(
        model=typed.model,
        fields=fields,
        decoded=decoded,
        messages=typed.messages,
        body_bytes=len(body),
        is_stream=bool(typed.stream),
        wants_usage=bool(typed.stream_options and typed.stream_options.include_usage),
        output_tokens_asked=asked,
        choices=n,
        drops_unsupported=bool(typed.drop_params),
    )


def parse_embeddings(body: bytes) -> EmbeddingsCall:
    """Raises BadRequest, with the path of the field at fault."""
    typed, fields, _ = _parse(body, _decode_embeddings, members_max=TOKEN_ARRAY_MAX)
    _check_model(typed.model)
    if typed.encoding_format not in (None, "float", "base64"):
        raise invalid("encoding_format", "'float' ou 'base64'", "'float' or 'base64'")
    if typed.dimensions is not None and not 1 <= typed.dimensions <= 100_000:
        raise invalid("dimensions", "um inteiro maior que zero", "an integer above zero")
    texts, token_count, inputs = _read_input(typed.input)
    if inputs == 0 or any(not text for text in texts):
        raise _empty_input()
    if inputs > INPUTS_MAX:
        raise invalid("input", f"no máximo {INPUTS_MAX} itens", f"at most {INPUTS_MAX} items")
    return EmbeddingsCall(
        model=typed.model,
        fields=fields,
        texts=texts,
        token_count=token_count,
        inputs=inputs,
        body_bytes=len(body),
        wants_base64=typed.encoding_format == "base64",
    )


def parse_body(
    body: bytes, decode_typed: Callable[[bytes], T], *, members_max: int = MEMBERS_MAX
) -> tuple[T, dict[str, msgspec.Raw], dict[str, Any]]:
    """Any surface's body, by the same bounds: its typed fields, its top-level members byte for byte, and Python objects.

    Raises BadRequest, with the path of the field at fault."""
    return _parse(body, decode_typed, members_max=members_max)


def _read_input(given: str | list[str | int | list[int]]) -> tuple[list[str], int, int]:
    """The texts, the tokens that came as arrays, and how many inputs there are. Raises BadRequest for a mixture."""
    if isinstance(given, str):
        return [given], 0, 1
    kinds = set(map(type, given))
    if len(kinds) > 1:
        raise invalid("input", "textos, ou listas de tokens", "strings, or arrays of tokens")
    if kinds == {int}:
        return [], len(given), 1
    texts = [item for item in given if isinstance(item, str)]
    arrays = [item for item in given if isinstance(item, list)]
    if not all(arrays):
        raise _empty_input()
    return texts, sum(map(len, arrays)), len(given)


def _parse(
    body: bytes, decode_typed: Callable[[bytes], T], *, members_max: int
) -> tuple[T, dict[str, msgspec.Raw], dict[str, Any]]:
    if len(body) > MEMBERS_UNCHECKED_BYTES:
        _check_size(body, members_max=members_max)
    try:
        typed = decode_typed(body)
        fields = _decode_members(body)
    except msgspec.ValidationError as error:
        raise wrong_type(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _not_json() from None
    except RecursionError:
        raise _too_deep() from None
    if _has_more(body, b"{", DEPTH_MAX // 2) or _has_more(body, b"[", DEPTH_MAX // 2):
        _check_depth(body)
    try:
        decoded = _decode_whole(body)
        if not _has_each_key_once(body, _encode_whole(decoded)):
            _decode_objects(body.decode())
    except _Duplicate as error:
        name = str(error)[:100]
        raise BadRequest(
            f"A chave '{name}' aparece duas vezes no mesmo objeto.", f"Duplicate key '{name}'.", param=name, code="invalid_json"
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except (ValueError, msgspec.DecodeError):
        raise _not_json() from None
    _check_forbidden(decoded)
    return typed, fields, decoded


def _has_each_key_once(body: bytes, again: bytes) -> bool:
    """`again`: the body decoded and written once more. A key that came twice is there once, so that its quotes are missing. Nothing
    else takes or brings a quote, but for the escape that stands for one: False then, whether or not a key came twice."""
    return again == body or (_quotes(again) == _quotes(body) and _QUOTE_ESCAPED not in body)


def _quotes(text: bytes) -> int:
    """`count` looks at each byte; this jumps from quote to quote: a seventh of the time in prose, twice it where each tenth byte is
    one."""
    return len(text) - len(text.replace(b'"', b""))


def _check_size(body: bytes, *, members_max: int) -> None:
    """Bounds the work of the passes that come: the marks in all, then those that stand outside of strings."""
    marks = body.translate(None, _NOT_MARKS)
    if len(marks) <= MEMBERS_MAX:
        return
    if marks.count(b'"') > QUOTES_MAX and marks.count(b'"') - body.count(b'\\"') > QUOTES_MAX:  # no escaped one begins a string
        raise _too_many()
    if len(marks) <= members_max and marks.count(b"{") + marks.count(b"[") <= MEMBERS_MAX:
        return
    bare = _STRINGS.sub(b"", body)
    if bare.count(b",") > members_max or bare.count(b"{") + bare.count(b"[") > MEMBERS_MAX:
        raise _too_many()


def _has_more(body: bytes, mark: bytes, most: int) -> bool:
    """Faster than `count` where the mark is rare: it looks with memchr, and gives up early."""
    place = -1
    for _ in range(most + 1):
        place = body.find(mark, place + 1)
        if place < 0:
            return False
    return True


def _too_many() -> BadRequest:
    return BadRequest("O corpo tem valores demais.", "The body has too many values.", code="invalid_json")


def _check_depth(body: bytes) -> None:
    brackets = _STRINGS.sub(b"", body).translate(None, _NOT_BRACKETS)
    for _ in range(DEPTH_MAX):
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if not brackets:
            return
    raise _too_deep()


def _check_forbidden(decoded: dict[str, Any]) -> None:
    for name, value in decoded.items():
        if name in FORBIDDEN_FIELDS:
            raise _forbidden(name)
        if name not in FREE_FIELDS and isinstance(value, dict | list):
            _check_forbidden_inside(value, name)


def _check_forbidden_inside(value: Any, path: str) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in FORBIDDEN_FIELDS:
                raise _forbidden(f"{path}.{name}")
            _check_forbidden_inside(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if isinstance(inner, dict | list):
                _check_forbidden_inside(inner, f"{path}[{index}]")


def _check_model(model: str) -> None:
    if not model or len(model) > MODEL_NAME_MAX:
        raise invalid("model", "o nome de um modelo", "a model's name")


def _check_messages(messages: list[Message]) -> None:
    if not messages:
        raise invalid("messages", "ao menos uma mensagem", "at least one message")
    if len(messages) > MESSAGES_MAX:
        raise invalid("messages", f"no máximo {MESSAGES_MAX} mensagens", f"at most {MESSAGES_MAX} messages")
    images = 0
    for index, message in enumerate(messages):
        if message.role not in ROLES:
            expected = ", ".join(sorted(ROLES))
            raise invalid(f"messages[{index}].role", f"um destes papéis: {expected}", f"one of: {expected}")
        if isinstance(message.content, list):
            images += sum(part.image_url is not None for part in message.content)
    if images > IMAGES_MAX:
        raise invalid("messages", f"no máximo {IMAGES_MAX} imagens", f"at most {IMAGES_MAX} images")


def invalid(param: str, expected: str, english: str) -> BadRequest:
    return BadRequest(
        f"Valor inválido em '{param}': esperado {expected}.", f"Invalid value for '{param}': expected {english}.", param=param
    )


def wrong_type(text: str) -> BadRequest:
    """msgspec names the path and the expected type: "Expected `str`, got `int` - at `$.messages[0].role`"."""
    found = _PATH.search(text)
    param = found.group(1) if found else ""
    if "missing required field" in text:
        name = text.split("`")[1]
        param = f"{param}.{name}" if param else name
        return BadRequest(
            f"Falta o campo obrigatório '{param}'.", f"Missing required parameter: '{param}'.", param=param,
            code="missing_required_parameter",
        )  # fmt: skip
    expected = _EXPECTED.search(text)
    kind = expected.group(1) if expected else "outro valor"
    where = f" em '{param}'" if param else ""
    english_where = f" for '{param}'" if param else ""
    return BadRequest(
        f"Tipo inválido{where}: esperado {kind}.", f"Invalid type{english_where}: expected {kind}.", param=param or None,
        code="invalid_type",
    )  # fmt: skip


def _not_json() -> BadRequest:
    return BadRequest("O corpo não é um JSON válido em UTF-8.", "The body is not valid UTF-8 JSON.", code="invalid_json")


def _too_deep() -> BadRequest:
    return BadRequest(
        f"O JSON tem mais de {DEPTH_MAX} níveis.", f"The JSON is nested deeper than {DEPTH_MAX} levels.", code="invalid_json"
    )


def _forbidden(path: str) -> BadRequest:
    return BadRequest(
        f"O campo '{path}' não é aceito.", f"The field '{path}' is not accepted.", param=path, code="unsupported_parameter"
    )


def _empty_input() -> BadRequest:
    return BadRequest("'input' não pode ser vazio.", "'input' must not be empty.", param="input")
