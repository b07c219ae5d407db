"""What Gemini's generateContent refuses in a request, and what differs from one generation to the next. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import Any

from tokia.sandbox.asgi import Json
from tokia.sandbox.llm_gemini_names import GENERATE, bad, refuse_unknown
from tokia.sandbox.llm_gemini_schemas import refuse_bad_declaration, refuse_bad_format

Body = dict[str, Any]

DATA = ("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult")
STAND_INS = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
STOPS_MAX = 5
MEDIA = re.compile(
    r"image/(png|jpeg|webp|heic|heif)|audio/(wav|mp3|mpeg|aiff|aac|ogg|flac)|video/.+|application/(pdf|json)|text/.+"
)
NAME = re.compile(r"(?:models/)?gemini-(\d+)(?:\.(\d+))?-")
LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH")
INT32_MAX = 2**31 - 1


def version_of(model: str) -> tuple[int, int]:
    found = NAME.match(model)
    return (int(found[1]), int(found[2] or 0)) if found else (99, 0)


def is_strict_model(model: str) -> bool:
    """Those that take no sampling and no beginning of their answer."""
    version = version_of(model)
    return version >= (3, 6) or (version == (3, 5) and "lite" in model)


def refuse_bad_request(body: Body, *, model: str) -> None:
    """Raise ProviderError for the first thing that the API would refuse."""
    refuse_unknown(body, GENERATE)
    if body.get("cachedContent") is not None:
        raise bad("CachedContent not found (or permission denied)")
    contents = body.get("contents")
    if not contents:
        raise bad("* GenerateContentRequest.contents: contents is not specified")
    system = body.get("systemInstruction")
    if system is not None:
        _refuse_parts(system, "system_instruction", model)
        if any("text" not in part for part in system["parts"]):
            raise bad("System instructions support text parts only.")
    for index, content in enumerate(contents):
        if content.get("role", "user") not in ("user", "model"):
            raise bad("Please use a valid role: user, model.")
        _refuse_parts(content, f"contents[{index}]", model)
    _refuse_turns(contents, model)
    declared = _refuse_tools(body)
    _refuse_config(body.get("generationConfig") or {}, model=model, has_tools=bool(declared))


# ── Contents ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _refuse_parts(content: Body, path: str, model: str) -> None:
    if not content.get("parts"):
        raise bad(f"* GenerateContentRequest.{path}.parts: contents.parts must not be empty.")
    for index, part in enumerate(content["parts"]):
        where = f"GenerateContentRequest.{path}.parts[{index}]"
        data = [name for name in DATA if part.get(name) is not None]
        if not data:
            raise bad(f"* {where}.data: required oneof field 'data' must have one initialized field")
        if len(data) > 1:
            raise bad(
                f"Invalid value at '{path}.parts[{index}]' (oneof), oneof field 'data' is already set. Cannot set '{data[1]}'"
            )
        _refuse_datum(part, data[0], where, model)


def _refuse_datum(part: Body, kind: str, where: str, model: str) -> None:
    if kind == "inlineData":
        blob = part["inlineData"]
        if not MEDIA.fullmatch(blob.get("mimeType", "")):
            raise bad(f"Unsupported MIME type: {blob.get('mimeType')}")
        try:
            base64.b64decode(blob.get("data", ""), validate=True)
        except binascii.Error:
            raise bad(f"Invalid value at '{where}.inline_data.data' (TYPE_BYTES), Base64 decoding failed") from None
        if not blob.get("data"):
            raise bad(f"* {where}.inline_data.data: must not be empty")
    if kind == "fileData":
        uri = part["fileData"].get("fileUri", "")
        if not uri.startswith(("https://", "gs://")) or (uri.startswith("https://") and version_of(model) < (2, 5)):
            raise bad("Invalid or unsupported file uri: " + uri[:80])
    if kind in ("functionCall", "functionResponse"):
        told = part[kind]
        if not told.get("name"):
            raise bad(f"* {where}.{kind}.name: [FIELD_INVALID] Name cannot be empty.")
        inner = told.get("args" if kind == "functionCall" else "response", {})
        if not isinstance(inner, dict):
            raise bad(f"Invalid value at '{where}.{kind}' (type.googleapis.com/google.protobuf.Struct), {str(inner)[:60]}")


def _refuse_turns(contents: list[Body], model: str) -> None:
    """A turn of calls follows the user and is answered by one turn with as many responses, in the same order."""
    waiting: list[Body] = []
    for index, content in enumerate(contents):
        calls = [part["functionCall"] for part in content["parts"] if part.get("functionCall") is not None]
        answers = [part["functionResponse"] for part in content["parts"] if part.get("functionResponse") is not None]
        if calls and (content.get("role") != "model" or index == 0):
            raise bad(
                "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
            )
        if answers and not waiting:
            raise bad("Please ensure that function response turn comes immediately after a function call turn.")
        if waiting:
            _refuse_unmatched(waiting, answers)
        waiting = calls
    if waiting:
        raise bad("Please ensure that function call turn is followed by its function response turn.")
    if contents[-1].get("role") == "model" and is_strict_model(model):
        raise bad("Requests whose last turn has the role model are not supported for this model.")
    if version_of(model) >= (3, 0):
        _refuse_unsigned(contents)


def _refuse_unmatched(calls: list[Body], answers: list[Body]) -> None:
    if len(answers) != len(calls):
        raise bad(
            "Please ensure that the number of function response parts is equal to the number of function call parts of the "
            "function call turn."
        )
    for call, answer in zip(calls, answers, strict=True):
        if call["name"] != answer["name"] or answer.get("id", call.get("id")) != call.get("id"):  # Google's own SDK sends none
            raise bad(f"Function response '{answer['name']}' does not match the function call '{call['name']}' at its place.")


def _refuse_unsigned(contents: list[Body]) -> None:
    """In the running turn, which begins at the user's last own words, the first call of each step is signed.

    `[signed]` in the user's words: no stand-in will do, so that a test sees whether the signatures themselves came back.
    """
    is_asked = any("[signed]" in part.get("text", "") for content in contents for part in content["parts"])
    own = [
        index for index, content in enumerate(contents)
        if content.get("role", "user") == "user" and any(part.get("functionResponse") is None for part in content["parts"])
    ]  # fmt: skip
    for index, content in enumerate(contents):
        calls = [(place, part) for place, part in enumerate(content["parts"]) if part.get("functionCall") is not None]
        for number, (place, part) in enumerate(calls):
            signature = part.get("thoughtSignature")
            if number == 0 and signature is None and index > max(own, default=-1):
                name = part["functionCall"]["name"]
                raise bad(
                    f"Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
                    f"correctly. Additional data, function call `default_api:{name}` , position {place}."
                )
            if signature is None or (signature in STAND_INS and not is_asked):
                continue
            if signature.translate(str.maketrans("-_", "+/")) != sign_call(part["functionCall"]):  # both alphabets are taken
                raise bad("Corrupted thought signature.")


def sign_call(call: Body) -> str:
    """Of a call's name and arguments; it has both characters of base64 that ids can't hold, and padding."""
    said = json.dumps([call["name"], call.get("args") or {}], sort_keys=True)
    return base64.b64encode(b"\xfb\xff\xbf" + hashlib.sha512(f"sandbox {said}".encode()).digest() + b"\x01").decode()


# ── Tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _refuse_tools(body: Body) -> list[str]:
    names: list[str] = []
    for index, tool in enumerate(body.get("tools") or []):
        if not tool:
            raise bad(f"* GenerateContentRequest.tools[{index}]: tool_type is required")
        for place, declaration in enumerate(tool.get("functionDeclarations") or []):
            refuse_bad_declaration(declaration, f"tools[{index}].function_declarations[{place}]")
            if declaration["name"] in names:
                raise bad(f"Duplicate function declaration found: {declaration['name']}")
            names.append(declaration["name"])
    config = (body.get("toolConfig") or {}).get("functionCallingConfig")
    if config is None:
        return names
    if not names:
        raise bad("Function calling config is set without function_declarations.")
    mode, allowed = config.get("mode", "AUTO"), config.get("allowedFunctionNames") or []
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED"):
        raise bad(f"Invalid value at 'tool_config.function_calling_config.mode' (Mode), \"{mode}\"")
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise bad(
            "Function calling config: allowed function names should be set only when function calling mode is ANY or VALIDATED."
        )
    if unknown := [name for name in allowed if name not in names]:
        raise bad(f"Function calling config: allowed function name {unknown[0]} is not declared.")
    return names


# ── Generation ───────────────────────────────────────────────────────────────────────────────────────────────────────
def _refuse_config(config: Body, *, model: str, has_tools: bool) -> None:
    version = version_of(model)
    for name, low, high in (("temperature", 0, 2), ("topP", 0, 1), ("maxOutputTokens", 1, INT32_MAX), ("logprobs", 0, 20),
                            ("seed", -INT32_MAX - 1, INT32_MAX)):  # fmt: skip
        value = config.get(name)
        if value is not None and not low <= value <= high:
            raise bad(f"* GenerateContentRequest.generation_config.{name}: must be in the range [{low}, {high}].")
    if len(config.get("stopSequences") or []) > STOPS_MAX or any(not text for text in config.get("stopSequences") or []):
        raise bad(f"* GenerateContentRequest.generation_config.stop_sequences: at most {STOPS_MAX}, none of them empty.")
    if (config.get("presencePenalty") or config.get("frequencyPenalty")) and version >= (2, 5):
        raise bad(f"Penalty is not enabled for models/{model}")
    candidates = config.get("candidateCount", 1)
    if not 1 <= candidates <= 8:
        raise bad("candidate_count must be in the range [1, 8].")
    if candidates > 1 and version >= (3, 0):
        raise bad("Multiple candidates is not enabled for this model")
    if config.get("logprobs") is not None and not config.get("responseLogprobs"):
        raise bad("logprobs may only be set when response_logprobs is true.")
    if config.get("responseLogprobs") and version >= (3, 0):
        raise bad(f"Logprobs is not enabled for models/{model}")
    if "IMAGE" in (config.get("responseModalities") or []) and "-image" not in model:
        raise bad("Model does not support the requested response modalities: image")
    refuse_bad_format(config, version=version, has_tools=has_tools)
    _refuse_thinking(config.get("thinkingConfig"), model, version)


def _refuse_thinking(thinking: Json, model: str, version: tuple[int, int]) -> None:
    if thinking is None:
        return
    level, budget = thinking.get("thinkingLevel"), thinking.get("thinkingBudget")
    if version < (2, 5):
        raise bad("Thinking is not enabled for this model.")
    if level is not None and budget is not None:
        raise bad("You can only set only one of thinking budget and thinking level.")
    if level is not None:
        if version < (3, 0):
            raise bad("Thinking level is not supported for this model.")
        if level not in LEVELS:
            raise bad(f"Invalid value at 'generation_config.thinking_config.thinking_level' (ThinkingLevel), \"{level}\"")
        is_light = "flash" in model and (version < (3, 8) or "lite" in model)
        if (level == "MINIMAL" and not is_light) or (level == "MEDIUM" and version == (3, 0) and "pro" in model):
            raise bad(f"Thinking level {level} is not supported for this model.")
    if budget is not None and budget not in (-1, 0):
        low, high = (128, 32_768) if "pro" in model else (512, 24_576) if "lite" in model else (1, 24_576)
        if not low <= budget <= high:
            raise bad(f"The thinking budget {budget} is invalid. Please choose a value between {low} and {high}.")
    if budget == 0 and ("pro" in model or version >= (3, 0)):
        raise bad("Budget 0 is invalid. This model only works in thinking mode.")
