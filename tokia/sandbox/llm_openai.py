"""The OpenAI wire format and its cousins: a checked request → a whole answer or a stream's frames, with their usage."""

from __future__ import annotations

import base64
import hashlib
import math
import secrets
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tokia.sandbox.asgi import Json, dump
from tokia.sandbox.faults import FaultSet
from tokia.sandbox.llm_answers import NAME_TOKENS, Answer, Question, Tool, compose, reasoning_tokens_for
from tokia.sandbox.llm_delivery import Frame, Reply
from tokia.sandbox.llm_hosts import (
    HostShape,
    dress_body,
    dress_message,
    dress_usage,
    finish_of,
    opening_chunk,
    reasoning_delta,
    shape_of,
)
from tokia.sandbox.llm_openai_rules import Body, message_text
from tokia.sandbox.llm_providers import Provider, is_reasoning_model
from tokia.sandbox.llm_refusals import ProviderError
from tokia.sandbox.llm_tokens import (
    IMAGE_TOKENS,
    MESSAGE_TOKENS,
    PromptCache,
    Usage,
    count_tokens,
    split_tokens,
)

MISTRAL_ID_CHARS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
LOGPROB = -0.105
DIMENSIONS = {"text-embedding-3-large": 3072, "mistral-embed": 1024, "gemini-embedding-001": 3072}
DIMENSIONS_DEFAULT = 1536


@dataclass
class Talk:
    """One chat call on its way to an answer."""

    body: Body
    provider: Provider
    model: str  # without its fault
    call_id: str
    faults: FaultSet
    usage: Usage
    answers: list[Answer]
    created: int
    user_text: str

    @property
    def shape(self) -> HostShape:
        return shape_of(self.provider.slug)

    @property
    def head(self) -> dict[str, Json]:
        head: dict[str, Json] = {"id": self.call_id, "created": self.created, "model": self.body["model"]}
        if self.provider.slug in ("openai", "deepseek", "groq"):
            head["system_fingerprint"] = "fp_sandbox"
        return head


def answer_chat(
    body: Body, *, provider: Provider, model: str, call_id: str, faults: FaultSet, cache: PromptCache, note: str = ""
) -> Reply:
    """The reply to a chat request that passed the rules. Raises ProviderError when the prompt does not fit."""
    prompt = render_prompt(body)
    usage = Usage(prompt_tokens=len(prompt))
    context = provider.context_of(model)
    if usage.prompt_tokens > context:
        text = (
            f"This model's maximum context length is {context} tokens. However, your messages resulted in "
            f"{usage.prompt_tokens} tokens. Please reduce the length of the messages."
        )
        raise ProviderError(400, text, param="messages", code="context_length_exceeded")
    if provider.has_prompt_cache:
        usage.cached_tokens = cache.match_prefix(scope=f"{provider.slug} {model}", tokens=prompt)
    question = _read_question(body, provider=provider, model=model, prompt_tokens=usage.prompt_tokens, faults=faults)
    question.note = note
    choices = 1 if "n" in provider.ignores else int(body.get("n") or 1)
    answers = [compose(question, choice=index) for index in range(choices)]
    usage.completion_tokens = sum(answer.tokens for answer in answers)
    usage.reasoning_tokens = sum(len(answer.reasoning) for answer in answers)
    if shape_of(provider.slug).has_filters and "[content_filter]" in question.user_text:
        text = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
        raise ProviderError(400, text, param="prompt", code="content_filter")
    talk = Talk(body, provider, model, call_id, faults, usage, answers, int(time.time()), question.user_text)
    if body.get("stream"):
        return Reply(usage=usage, frames=list(_frames(talk)))
    return Reply(usage=usage, body=_whole(talk))


def render_prompt(body: Body) -> list[str]:
    """Every token of the prompt, in order: tools, then messages. The markers stand for what is not text."""
    tokens: list[str] = []
    for tool in body.get("tools") or ():
        tokens += split_tokens(dump(tool).decode())
    if isinstance(body.get("response_format"), dict) and "json_schema" in body["response_format"]:
        tokens += split_tokens(dump(body["response_format"]["json_schema"]).decode())
    for message in body["messages"]:
        tokens += [f"<{message['role']}>"] * MESSAGE_TOKENS
        tokens += split_tokens(message_text(message.get("content")))
        if isinstance(message.get("content"), list):
            images = sum(part.get("type") in ("image_url", "input_audio", "file") for part in message["content"])
            tokens += ["<image>"] * (images * IMAGE_TOKENS)
        for call in message.get("tool_calls") or ():
            tokens += split_tokens(dump(call.get("function", call)).decode())
    return tokens + ["<assistant>"] * MESSAGE_TOKENS


def shape_usage(usage: Usage, *, provider: Provider) -> dict[str, Any]:
    """Usage as that provider writes it."""
    shaped: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    cached = {"cached_tokens": usage.cached_tokens}
    reasoning = {"reasoning_tokens": usage.reasoning_tokens}
    match provider.slug:
        case "openai" | "local":
            shaped["prompt_tokens_details"] = {**cached, "audio_tokens": 0}
            shaped["completion_tokens_details"] = {
                **reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            }
        case "deepseek":
            shaped["prompt_tokens_details"] = cached
            shaped["prompt_cache_hit_tokens"] = usage.cached_tokens
            shaped["prompt_cache_miss_tokens"] = usage.prompt_tokens - usage.cached_tokens
            if usage.reasoning_tokens:
                shaped["completion_tokens_details"] = reasoning
        case "groq":
            shaped |= {"queue_time": 0.01, "prompt_time": 0.01, "completion_time": 0.1, "total_time": 0.11}
            if usage.cached_tokens:
                shaped["prompt_tokens_details"] = cached
            if usage.reasoning_tokens:
                shaped["completion_tokens_details"] = reasoning
        case "google" if usage.cached_tokens:
            shaped["prompt_tokens_details"] = cached
    dress_usage(shaped, slug=provider.slug, reasoning_tokens=usage.reasoning_tokens)
    return shaped


def _read_question(body: Body, *, provider: Provider, model: str, prompt_tokens: int, faults: FaultSet) -> Question:
    messages = body["messages"]
    users = [message_text(message.get("content")) for message in messages if message["role"] == "user"]
    last = messages[-1]
    limits = [body.get(name) for name in ("max_completion_tokens", "max_tokens") if name not in provider.ignores]
    stop = body.get("stop") or ()
    wanted = body.get("response_format") or {}
    schema: dict[str, Any] | None = None
    if wanted.get("type") == "json_object":
        schema = {}
    elif wanted.get("type") == "json_schema":
        schema = wanted["json_schema"].get("schema") or {}
    effort = body.get("reasoning_effort")
    is_reasoning = is_reasoning_model(model)
    return Question(
        model=model,
        user_text=users[-1] if users else "",
        tool_result=message_text(last.get("content")) if last["role"] == "tool" else None,
        tools=[_read_tool(tool) for tool in body.get("tools") or ()],
        tool_choice=_read_choice(body.get("tool_choice")),
        is_parallel=body.get("parallel_tool_calls") is not False,
        json_schema=schema,
        max_tokens=next((limit for limit in limits if limit is not None), None),
        stop=[stop] if isinstance(stop, str) else stop,
        reasoning_tokens=reasoning_tokens_for(prompt_tokens=prompt_tokens, effort=effort) if is_reasoning else 0,
        has_separators=faults.has("separators"),
    )


def _read_tool(tool: Body) -> Tool:
    function = tool.get("function") or tool.get("custom") or {}
    return Tool(name=function.get("name", ""), schema=function.get("parameters") or {})


def _read_choice(choice: Json) -> str:
    if isinstance(choice, dict):
        return str((choice.get("function") or choice.get("custom") or {}).get("name", "auto"))
    return {"any": "required"}.get(choice, choice) or "auto"


# ── Whole answers ────────────────────────────────────────────────────────────────────────────────────────────────────
def _whole(talk: Talk) -> dict[str, Any]:
    choices = []
    for index, answer in enumerate(talk.answers):
        message: dict[str, Any] = {"role": "assistant", "content": None if answer.tool_calls else answer.text}
        if talk.provider.slug == "openai":
            message |= {"refusal": None, "annotations": []}
        dress_message(message, slug=talk.provider.slug, reasoning="".join(answer.reasoning))
        if answer.tool_calls:
            message["tool_calls"] = [
                {
                    "id": _tool_id(talk, index, position),
                    "type": "function",
                    "function": {"name": call.name, "arguments": "".join(call.pieces)},
                }
                for position, call in enumerate(answer.tool_calls)
            ]
        logprobs = _logprobs(talk.body, answer.pieces)
        choices.append(
            {
                "index": index,
                "message": message,
                "logprobs": logprobs,
                "finish_reason": finish_of(talk.shape, answer.finish, talk.user_text),
            }
        )
    whole: dict[str, Any] = {**talk.head, "object": "chat.completion", "choices": choices}
    dress_body(whole, slug=talk.provider.slug)
    usage = talk.faults.bend_usage(shape_usage(talk.usage, provider=talk.provider))
    if usage is not None:
        whole["usage"] = usage
    if talk.provider.slug == "openai":
        whole["service_tier"] = "default"
    if talk.provider.slug == "groq":
        whole["x_groq"] = {"id": f"req_{talk.call_id[-20:]}"}
    return whole


# ── Streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _frames(talk: Talk) -> Iterator[Frame]:
    options = talk.body.get("stream_options") or {}
    asked = options.get("include_usage") is True
    usage = talk.faults.bend_usage(shape_usage(talk.usage, provider=talk.provider))
    sent = 0
    if talk.shape.has_filters:
        yield Frame(data=dump(opening_chunk()), tokens=0)
    for index, answer in enumerate(talk.answers):
        for delta, tokens, logprobs in _deltas(talk, index, answer):
            sent += tokens
            yield _frame(talk, index, delta, tokens=sent, asked=asked, logprobs=logprobs, is_content=tokens > 0)
        is_last = index == len(talk.answers) - 1
        extra: dict[str, Any] = {}
        if is_last and usage is not None and talk.provider.slug == "groq":
            extra["x_groq"] = {"id": f"req_{talk.call_id[-20:]}", "usage": usage}
        elif is_last and usage is not None and talk.shape.ends_with_usage:
            extra["usage"] = usage
        yield _frame(
            talk, index, {}, tokens=sent, asked=asked, finish=finish_of(talk.shape, answer.finish, talk.user_text), extra=extra
        )
    if asked and usage is not None and not talk.shape.usage_on_finish_only:
        chunk = {**talk.head, "object": "chat.completion.chunk", "choices": [], "usage": usage}
        yield Frame(data=dump(chunk), tokens=sent)
    if not talk.faults.has("nodone") and talk.shape.has_done:
        yield Frame(data=b"[DONE]", tokens=sent)


def _frame(
    talk: Talk,
    index: int,
    delta: dict[str, Any],
    *,
    tokens: int,
    asked: bool,
    finish: str | None = None,
    logprobs: Json = None,
    extra: dict[str, Any] | None = None,
    is_content: bool = False,
) -> Frame:
    choice: dict[str, Any] = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
    chunk: dict[str, Any] = {**talk.head, "object": "chat.completion.chunk", "choices": [choice]}
    dress_body(chunk, slug=talk.provider.slug)
    if talk.shape.usage_everywhere:
        so_far = Usage(prompt_tokens=talk.usage.prompt_tokens, completion_tokens=tokens)
        chunk["usage"] = talk.faults.bend_usage(shape_usage(so_far, provider=talk.provider))
        choice["message"] = {"role": "assistant", "content": talk.answers[index].text[: tokens * 4]}  # all so far, more or less
    elif asked and not talk.faults.has("nousage"):
        chunk["usage"] = None
    chunk |= extra or {}
    return Frame(data=dump(chunk), tokens=tokens, is_content=is_content)


def _deltas(talk: Talk, index: int, answer: Answer) -> Iterator[tuple[dict[str, Any], int, Json]]:
    """`(delta, its tokens, its logprobs)` in the provider's order."""
    slug = talk.provider.slug
    opening: dict[str, Any] = {"role": "assistant", "content": None if answer.tool_calls else ""}
    if slug == "openai":
        opening["refusal"] = None
    hidden = 0 if talk.shape.reasoning else len(answer.reasoning)
    yield opening, 0, None
    if talk.shape.reasoning:
        for piece in answer.reasoning:
            yield reasoning_delta(talk.shape, piece), 1, None
    for piece in answer.pieces:
        yield {"content": piece}, 1 + hidden, _logprobs(talk.body, [piece])
        hidden = 0
    for position, call in enumerate(answer.tool_calls):
        head = {"index": position, "id": _tool_id(talk, index, position), "type": "function"}
        if not talk.shape.indexed_tools:
            del head["index"]
        if talk.shape.whole_tools or not talk.shape.indexed_tools:
            function = {"name": call.name, "arguments": "".join(call.pieces)}
            yield {"tool_calls": [{**head, "function": function}]}, len(call.pieces) + NAME_TOKENS + hidden, None
            hidden = 0
            continue
        yield {"tool_calls": [{**head, "function": {"name": call.name, "arguments": ""}}]}, NAME_TOKENS + hidden, None
        hidden = 0
        for piece in call.pieces:
            yield {"tool_calls": [{"index": position, "function": {"arguments": piece}}]}, 1, None
    if hidden:  # all the budget went into reasoning
        yield {"content": ""}, hidden, None


def _tool_id(talk: Talk, index: int, position: int) -> str:
    digest = hashlib.sha256(f"{talk.call_id}{index}{position}".encode()).digest()
    if talk.provider.slug == "mistral":
        return "".join(MISTRAL_ID_CHARS[byte % len(MISTRAL_ID_CHARS)] for byte in digest[:9])
    if talk.provider.slug == "google":
        return f"function-call-{int.from_bytes(digest[:8])}"
    return f"call_{digest.hex()[:24]}"


def _logprobs(body: Body, pieces: list[str]) -> Json:
    if not body.get("logprobs"):
        return None
    content = []
    for piece in pieces:
        item: dict[str, Json] = {"token": piece, "logprob": LOGPROB, "bytes": list(piece.encode())}
        item["top_logprobs"] = [dict(item) for _ in range(min(1, int(body.get("top_logprobs") or 0)))]
        content.append(item)
    return {"content": content, "refusal": None}


# ── Embeddings ───────────────────────────────────────────────────────────────────────────────────────────────────────
def answer_embeddings(body: Body, *, provider: Provider, model: str, faults: FaultSet) -> Reply:
    """Unit vectors that depend on the text alone; `float` or little-endian float32 in `base64`."""
    asked = body["input"]
    items = asked if isinstance(asked, list) and not isinstance(asked[0], int) else [asked]
    tokens = sum(len(item) if isinstance(item, list) else count_tokens(item) for item in items)
    size = int(body.get("dimensions") or body.get("output_dimension") or DIMENSIONS.get(model, DIMENSIONS_DEFAULT))
    usage = Usage(prompt_tokens=tokens)
    shaped = faults.bend_usage({"prompt_tokens": tokens, "total_tokens": tokens})
    data = []
    for index, item in enumerate(items):
        vector = embed(item if isinstance(item, str) else " ".join(map(str, item)), size)
        coded: Json = vector
        if body.get("encoding_format") == "base64":
            coded = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": coded})
    whole: dict[str, Any] = {"object": "list", "data": data, "model": body["model"]}
    if shaped is not None:
        whole["usage"] = shaped
    if provider.slug == "mistral":
        whole["id"] = secrets.token_hex(16)
    return Reply(usage=usage, body=whole)


def embed(text: str, size: int) -> list[float]:
    """A unit vector drawn from the text's hash."""
    raw = struct.unpack(f"<{size}h", hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(2 * size))
    length = math.sqrt(sum(value * value for value in raw)) or 1.0
    return [value / length for value in raw]
