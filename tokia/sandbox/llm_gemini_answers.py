"""Gemini's own protocol: a checked request → candidates, whole or streamed, with their usage.

In the user's text `[finish=SAFETY]` makes the answer end so after its first tokens, `[block=PROHIBITED_CONTENT]` blocks the prompt.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from tokia.sandbox.asgi import Json, dump
from tokia.sandbox.faults import OVERSHOOT_FACTOR, FaultSet
from tokia.sandbox.llm_answers import NAME_TOKENS, Answer, Question, Tool, compose, reasoning_tokens_for
from tokia.sandbox.llm_delivery import Frame, Reply
from tokia.sandbox.llm_gemini_rules import Body, sign_call, version_of
from tokia.sandbox.llm_providers import Provider
from tokia.sandbox.llm_refusals import ProviderError
from tokia.sandbox.llm_tokens import IMAGE_TOKENS, MESSAGE_TOKENS, PromptCache, Usage, split_tokens

FINISH_WISH = re.compile(r"\[finish=([A-Z_]+)\]")
BLOCK_WISH = re.compile(r"\[block=([A-Z_]+)\]")
FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
WITHHELD_AFTER = 3  # tokens that a wished finish lets through
WITHOUT_CONTENT = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "NO_IMAGE")
EFFORTS = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high"}
LOGPROB = -0.105
PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"sandbox " * 8).decode()
PICTURE_TOKENS = 1_290


@dataclass
class Talk:
    """One call on its way to an answer."""

    body: Body
    model: str
    call_id: str
    faults: FaultSet
    usage: Usage
    answers: list[Answer]
    pictures: int = 0
    wished: str | None = None
    shows_thoughts: bool = False

    @property
    def is_signed(self) -> bool:
        return version_of(self.model) >= (3, 0)


def answer_generate(
    body: Body, *, provider: Provider, model: str, call_id: str, faults: FaultSet, cache: PromptCache, is_stream: bool
) -> Reply:
    """The reply to a request that passed the rules. Raises ProviderError when the prompt does not fit."""
    prompt = render_prompt(body)
    usage = Usage(prompt_tokens=len(prompt), audio_input_tokens=prompt.count("<AUDIO>"), image_input_tokens=prompt.count("<IMAGE>"))
    context = provider.context_of(model)
    if usage.prompt_tokens > context:
        text = f"The input token count ({usage.prompt_tokens}) exceeds the maximum number of tokens allowed ({context})."
        raise ProviderError(400, text)
    usage.cached_tokens = cache.match_prefix(scope=f"{provider.slug} native {model}", tokens=prompt)
    config = body.get("generationConfig") or {}
    question = _read_question(body, model=model, prompt_tokens=len(prompt), faults=faults)
    if blocked := BLOCK_WISH.search(question.user_text):
        return _blocked(Talk(body, model, call_id, faults, usage, []), blocked[1], is_stream=is_stream)
    answers = [compose(question, choice=index) for index in range(config.get("candidateCount") or 1)]
    wish = FINISH_WISH.search(question.user_text)
    for answer in answers if wish else ():
        answer.tool_calls = []
        answer.pieces = [] if wish and wish[1] in WITHOUT_CONTENT else answer.pieces[:WITHHELD_AFTER]
    pictures = 1 if "-image" in model and not wish and "IMAGE" in (config.get("responseModalities") or ["TEXT", "IMAGE"]) else 0
    usage.image_output_tokens = pictures * PICTURE_TOKENS
    usage.completion_tokens = sum(answer.tokens for answer in answers) + usage.image_output_tokens
    usage.reasoning_tokens = sum(len(answer.reasoning) for answer in answers)
    shows = bool((config.get("thinkingConfig") or {}).get("includeThoughts"))
    talk = Talk(body, model, call_id, faults, usage, answers, pictures, wish[1] if wish else None, shows)
    if is_stream:
        return Reply(usage=usage, frames=list(_frames(talk)))
    return Reply(usage=usage, body=_whole(talk))


def render_prompt(body: Body) -> list[str]:
    """Every token of the prompt, in order: the system's words, tools, the answer's schema, contents."""
    tokens: list[str] = []
    for part in (body.get("systemInstruction") or {}).get("parts") or ():
        tokens += _tokens_of_part(part)
    for tool in body.get("tools") or ():
        tokens += split_tokens(dump(tool).decode())
    config = body.get("generationConfig") or {}
    if schema := config.get("responseJsonSchema") or config.get("responseSchema"):
        tokens += split_tokens(dump(schema).decode())
    for content in body["contents"]:
        tokens += [f"<{content.get('role', 'user')}>"] * MESSAGE_TOKENS
        for part in content["parts"]:
            tokens += _tokens_of_part(part)
    return tokens + ["<model>"] * MESSAGE_TOKENS


def _tokens_of_part(part: Body) -> list[str]:
    if part.get("text") is not None:
        return split_tokens(part["text"])
    media = part.get("inlineData") or part.get("fileData")
    if media is not None:
        kind = media.get("mimeType", "image/").partition("/")[0].upper()
        return [f"<{kind}>" if kind in ("IMAGE", "AUDIO") else "<DOCUMENT>"] * IMAGE_TOKENS
    told = part.get("functionCall") or part.get("functionResponse") or {}
    return split_tokens(dump({name: told[name] for name in told if name != "id"}).decode())


def _read_question(body: Body, *, model: str, prompt_tokens: int, faults: FaultSet) -> Question:
    config = body.get("generationConfig") or {}
    texts = [
        "\n".join(part["text"] for part in content["parts"] if part.get("text") is not None)
        for content in body["contents"]
        if content.get("role", "user") == "user"
    ]
    answered = [part["functionResponse"]["response"] for part in body["contents"][-1]["parts"] if "functionResponse" in part]
    declared = [tool for group in body.get("tools") or () for tool in group.get("functionDeclarations") or ()]
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    allowed = calling.get("allowedFunctionNames")
    tools = [
        Tool(tool["name"], tool.get("parametersJsonSchema") or lower_types(tool.get("parameters") or {"type": "OBJECT"}))
        for tool in declared
        if not allowed or tool["name"] in allowed
    ]
    schema = None
    if config.get("responseMimeType") == "application/json":
        schema = config.get("responseJsonSchema") or lower_types(config.get("responseSchema") or {})
    return Question(
        model=model,
        user_text=next((text for text in reversed(texts) if text), ""),
        tool_result="\n".join(_plain(answer) for answer in answered) if answered else None,
        tools=tools,
        tool_choice={"ANY": "required", "NONE": "none"}.get(calling.get("mode", ""), "auto"),
        json_schema=schema,
        max_tokens=config.get("maxOutputTokens"),
        stop=config.get("stopSequences") or (),
        reasoning_tokens=_thinking_tokens(config, model, prompt_tokens),
        has_separators=faults.has("separators"),
    )


def _plain(answer: Body) -> str:
    return str(answer["output"]) if set(answer) == {"output"} else json.dumps(answer, ensure_ascii=False)


def lower_types(schema: Json) -> Json:
    """A schema of the subset in JSON Schema's words."""
    if isinstance(schema, list):
        return [lower_types(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    lowered = {name: lower_types(value) for name, value in schema.items()}
    if isinstance(schema.get("type"), str):
        lowered["type"] = schema["type"].lower()
    return lowered


def _thinking_tokens(config: Body, model: str, prompt_tokens: int) -> int:
    """Left to itself a model thinks a little, and within a quarter of its output; a level or a budget says how much."""
    thinking = config.get("thinkingConfig") or {}
    level = thinking.get("thinkingLevel")
    budget: int | None = thinking.get("thinkingBudget")
    if version_of(model) < (2, 5) or budget == 0 or ("-image" in model):
        return 0
    if level is not None:
        return reasoning_tokens_for(prompt_tokens=prompt_tokens, effort=EFFORTS[level])
    if budget is not None and budget > 0:
        return min(budget, reasoning_tokens_for(prompt_tokens=prompt_tokens, effort="high"))
    if "lite" in model and budget is None:
        return 0
    ceiling: int = config.get("maxOutputTokens") or 65_536
    return min(reasoning_tokens_for(prompt_tokens=prompt_tokens, effort="low"), ceiling // 4)


# ── Usage and envelope ───────────────────────────────────────────────────────────────────────────────────────────────
def shape_usage(talk: Talk, *, sent: int, thought: int) -> dict[str, Any] | None:
    """Cumulative: thoughts beside the candidates' tokens, cached ones within the prompt's."""
    usage = talk.usage
    text = usage.prompt_tokens - usage.audio_input_tokens - usage.image_input_tokens
    details = [("TEXT", text), ("AUDIO", usage.audio_input_tokens), ("IMAGE", usage.image_input_tokens)]
    shaped: dict[str, Any] = {
        "promptTokenCount": usage.prompt_tokens,
        "totalTokenCount": usage.prompt_tokens + sent,
        "promptTokensDetails": [{"modality": kind, "tokenCount": count} for kind, count in details if count],
    }
    if sent - thought:
        shaped["candidatesTokenCount"] = (sent - thought) * (OVERSHOOT_FACTOR if talk.faults.has("overshoot") else 1)
    if thought:
        shaped["thoughtsTokenCount"] = thought
    if usage.image_output_tokens and sent >= usage.completion_tokens:
        shaped["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": usage.image_output_tokens}]
    if usage.cached_tokens:
        shaped["cachedContentTokenCount"] = usage.cached_tokens
        shaped["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": usage.cached_tokens}]
    return talk.faults.bend_usage(shaped)


def _envelope(talk: Talk, candidates: list[Body], *, sent: int, thought: int) -> dict[str, Any]:
    whole: dict[str, Any] = {"candidates": candidates} if candidates else {}
    usage = shape_usage(talk, sent=sent, thought=thought)
    if usage is not None:
        whole["usageMetadata"] = usage
    return {**whole, "modelVersion": talk.model, "responseId": talk.call_id}


def _blocked(talk: Talk, reason: str, *, is_stream: bool) -> Reply:
    body = {"promptFeedback": {"blockReason": reason}, **_envelope(talk, [], sent=0, thought=0)}
    if is_stream:
        return Reply(usage=talk.usage, frames=[Frame(data=dump(body), tokens=0)])
    return Reply(usage=talk.usage, body=body)


def _finish(talk: Talk, answer: Answer) -> str:
    return talk.wished or FINISH[answer.finish]


def _call_part(talk: Talk, answer: Answer, position: int) -> Body:
    call = answer.tool_calls[position]
    told: Body = {"name": call.name, "args": _args_of("".join(call.pieces))}
    if version_of(talk.model) >= (3, 5):
        told["id"] = secrets.token_hex(4)
    part: Body = {"functionCall": told}
    if talk.is_signed and position == 0:
        part["thoughtSignature"] = sign_call(told)
    return part


def _args_of(arguments: str) -> Json:
    """One that max_tokens cut is empty."""
    try:
        return json.loads(arguments)
    except ValueError:
        return {}


def _logprobs(talk: Talk, pieces: list[str]) -> dict[str, Any]:
    config = talk.body.get("generationConfig") or {}
    if not config.get("responseLogprobs") or not pieces:
        return {}
    chosen = [{"token": piece, "tokenId": len(piece), "logProbability": LOGPROB} for piece in pieces]
    result: dict[str, Any] = {"chosenCandidates": chosen}
    if config.get("logprobs"):
        result["topCandidates"] = [{"candidates": [token]} for token in chosen]
    return {"logprobsResult": result}


# ── Whole ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _whole(talk: Talk) -> dict[str, Any]:
    candidates = []
    for index, answer in enumerate(talk.answers):
        parts: list[Body] = []
        if answer.reasoning and talk.shows_thoughts:
            parts.append({"text": "".join(answer.reasoning), "thought": True})
        if answer.pieces:
            parts.append({"text": answer.text})
            if talk.is_signed and answer.reasoning:
                parts[-1]["thoughtSignature"] = base64.b64encode(b"sandbox thought").decode()
        parts += [_call_part(talk, answer, position) for position in range(len(answer.tool_calls))]
        parts += [_picture()] * talk.pictures
        candidate: Body = {"finishReason": _finish(talk, answer), "index": index, **_logprobs(talk, answer.pieces)}
        candidate["content"] = {"parts": parts, "role": "model"} if parts else {"role": "model"}
        candidates.append(candidate)
    return _envelope(talk, candidates, sent=talk.usage.completion_tokens, thought=talk.usage.reasoning_tokens)


def _picture() -> Body:
    return {"inlineData": {"mimeType": "image/png", "data": PICTURE}}


# ── Streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _frames(talk: Talk) -> Iterator[Frame]:
    """The candidates' pieces in turn. The last event of each says why it ended; there is no other end than the body's."""
    sent = thought = 0
    turns = zip_longest(*(_pieces(talk, index, answer) for index, answer in enumerate(talk.answers)))
    for turn in turns:
        for piece in turn:
            if piece is None:
                continue
            candidate, tokens, thoughts = piece
            sent, thought = sent + tokens, thought + thoughts
            body = _envelope(talk, [candidate], sent=sent, thought=thought)
            yield Frame(data=dump(body), tokens=sent, is_content=tokens > 0)


def _pieces(talk: Talk, index: int, answer: Answer) -> Iterator[tuple[Body, int, int]]:
    """`(candidate, its tokens, those of them that are thoughts)`; thoughts that are not shown come with the first piece."""
    hidden = 0 if talk.shows_thoughts else len(answer.reasoning)
    parts: list[tuple[Body, int, int, dict[str, Any]]] = []
    if talk.shows_thoughts:
        parts += [({"text": piece, "thought": True}, 1, 1, {}) for piece in answer.reasoning]
    parts += [({"text": piece}, 1, 0, _logprobs(talk, [piece])) for piece in answer.pieces]
    for position, call in enumerate(answer.tool_calls):
        parts.append((_call_part(talk, answer, position), len(call.pieces) + NAME_TOKENS, 0, {}))
    parts += [(_picture(), PICTURE_TOKENS, 0, {})] * talk.pictures
    if not parts or answer.tool_calls or (talk.is_signed and answer.reasoning):  # the end comes alone, with nothing to say
        last: Body = {"text": ""}
        if talk.is_signed and answer.reasoning and not answer.tool_calls:
            last["thoughtSignature"] = base64.b64encode(b"sandbox thought").decode()
        parts.append((last, 0, 0, {}))
    for place, (part, tokens, thoughts, extra) in enumerate(parts):
        candidate: Body = {"content": {"parts": [part], "role": "model"}, "index": index, **extra}
        if place == len(parts) - 1:
            candidate["finishReason"] = _finish(talk, answer)
        yield candidate, tokens + hidden, thoughts + hidden
        hidden = 0
