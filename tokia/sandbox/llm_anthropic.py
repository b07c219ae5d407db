"""Anthropic's Messages API: a checked request → a whole message or a stream's events, with their usage."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tokia.sandbox.asgi import Json, dump
from tokia.sandbox.faults import FaultSet
from tokia.sandbox.llm_answers import NAME_TOKENS, Answer, Question, Tool, compose, reasoning_tokens_for
from tokia.sandbox.llm_anthropic_rules import Body, blocks_of, sign_thinking
from tokia.sandbox.llm_delivery import Frame, Reply
from tokia.sandbox.llm_providers import Provider
from tokia.sandbox.llm_refusals import ProviderError
from tokia.sandbox.llm_tokens import IMAGE_TOKENS, MESSAGE_TOKENS, PromptCache, Usage, split_tokens

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


@dataclass
class Prompt:
    """The rendered prompt and where its cache breakpoints are, with their time to live."""

    tokens: list[str]
    breakpoints: list[int]
    is_hour: bool = False

    def mark(self, block: Json) -> None:
        control = block.get("cache_control") if isinstance(block, dict) else None
        if isinstance(control, dict):
            self.breakpoints.append(len(self.tokens))
            self.is_hour = self.is_hour or control.get("ttl") == "1h"


@dataclass
class Talk:
    """One Messages call on its way to an answer."""

    body: Body
    call_id: str
    faults: FaultSet
    usage: Usage
    answer: Answer
    is_hour: bool

    @property
    def stop_reason(self) -> str:
        return "stop_sequence" if self.answer.stop_sequence else STOP_REASONS[self.answer.finish]


def answer_messages(body: Body, *, provider: Provider, model: str, call_id: str, faults: FaultSet, cache: PromptCache) -> Reply:
    """The reply to a request that passed the rules. Raises ProviderError when the prompt does not fit."""
    prompt = render_prompt(body)
    usage = Usage(prompt_tokens=len(prompt.tokens))
    context = provider.context_of(model)
    if usage.prompt_tokens > context:
        raise ProviderError(400, f"prompt is too long: {usage.prompt_tokens} tokens > {context} maximum")
    usage.cached_tokens, usage.cache_write_tokens = cache.match_breakpoints(
        scope=f"{provider.slug} {model}", tokens=prompt.tokens, ends=prompt.breakpoints
    )
    answer = compose(_read_question(body, model=model, prompt_tokens=usage.prompt_tokens, faults=faults))
    usage.completion_tokens = answer.tokens
    usage.reasoning_tokens = len(answer.reasoning)
    talk = Talk(body, call_id, faults, usage, answer, prompt.is_hour)
    if body.get("stream"):
        return Reply(usage=usage, frames=list(_frames(talk)))
    return Reply(usage=usage, body=_whole(talk))


def render_prompt(body: Body) -> Prompt:
    """Every token of the prompt in the cache's order: tools, system, messages."""
    prompt = Prompt(tokens=[], breakpoints=[])
    for tool in body.get("tools") or ():
        prompt.tokens += split_tokens(dump({name: tool[name] for name in tool if name != "cache_control"}).decode())
        prompt.mark(tool)
    for block in blocks_of(body.get("system", "")):
        prompt.tokens += split_tokens(block.get("text", ""))
        prompt.mark(block)
    for message in body["messages"]:
        prompt.tokens += [f"<{message['role']}>"] * MESSAGE_TOKENS
        for block in blocks_of(message["content"]):
            prompt.tokens += _tokens_of_block(block)
            prompt.mark(block)
    prompt.tokens += ["<assistant>"] * MESSAGE_TOKENS
    return prompt


def _tokens_of_block(block: Body) -> list[str]:
    match block.get("type"):
        case "image" | "document":
            return ["<image>"] * IMAGE_TOKENS
        case "tool_use":
            return split_tokens(f"{block['name']} {json.dumps(block['input'], ensure_ascii=False)}")
        case "tool_result":
            return [token for inner in blocks_of(block.get("content", "")) for token in _tokens_of_block(inner)]
        case _:
            return split_tokens(str(block.get("text") or block.get("thinking") or block.get("data") or ""))


def _read_question(body: Body, *, model: str, prompt_tokens: int, faults: FaultSet) -> Question:
    last = blocks_of(body["messages"][-1]["content"])
    results = [block for block in last if block.get("type") == "tool_result"]
    texts = [
        "\n".join(block["text"] for block in blocks_of(message["content"]) if block.get("type") == "text")
        for message in body["messages"]
        if message["role"] == "user"
    ]
    choice = body.get("tool_choice") or {}
    kinds = {"any": "required", "none": "none", "tool": str(choice.get("name"))}
    thinking = body.get("thinking") or {}
    effort = (body.get("output_config") or {}).get("effort")
    budget = reasoning_tokens_for(prompt_tokens=prompt_tokens, effort=effort)
    wanted = (body.get("output_config") or {}).get("format") or {}
    result_text = "\n".join(block.get("text", "") for result in results for block in blocks_of(result.get("content", "")))
    return Question(
        model=model,
        user_text=next((text for text in reversed(texts) if text), ""),
        tool_result=result_text if results else None,
        tools=[Tool(tool["name"], tool.get("input_schema") or {}) for tool in body.get("tools") or ()],
        tool_choice=kinds.get(choice.get("type", ""), "auto"),
        is_parallel=not choice.get("disable_parallel_tool_use"),
        json_schema=wanted.get("schema") if wanted.get("type") == "json_schema" else None,
        max_tokens=body["max_tokens"],
        stop=body.get("stop_sequences") or (),
        reasoning_tokens=min(budget, thinking.get("budget_tokens", budget))
        if thinking.get("type") in ("enabled", "adaptive")
        else 0,
        has_separators=faults.has("separators"),
    )


def shape_usage(talk: Talk, *, output_tokens: int) -> dict[str, Any]:
    """Anthropic's usage: three disjoint input numbers, thinking within the output."""
    usage = talk.usage
    written = usage.cache_write_tokens
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": 0 if talk.is_hour else written,
            "ephemeral_1h_input_tokens": written if talk.is_hour else 0,
        },
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def _message(talk: Talk, *, content: list[Body], stop_reason: str | None, output_tokens: int) -> dict[str, Any]:
    message: dict[str, Any] = {
        "id": talk.call_id,
        "type": "message",
        "role": "assistant",
        "model": talk.body["model"],
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": talk.answer.stop_sequence if stop_reason else None,
    }
    usage = talk.faults.bend_usage(shape_usage(talk, output_tokens=output_tokens))
    if usage is not None:
        message["usage"] = usage
    return message


def _whole(talk: Talk) -> dict[str, Any]:
    content: list[Body] = []
    if talk.answer.reasoning:
        thought = "".join(talk.answer.reasoning)
        content.append({"type": "thinking", "thinking": thought, "signature": sign_thinking(thought)})
    if talk.answer.pieces:
        content.append({"type": "text", "text": talk.answer.text})
    for call in talk.answer.tool_calls:
        content.append({"type": "tool_use", "id": _tool_id(), "name": call.name, "input": _input_of("".join(call.pieces))})
    return _message(talk, content=content, stop_reason=talk.stop_reason, output_tokens=talk.usage.completion_tokens)


def _frames(talk: Talk) -> Iterator[Frame]:
    opening = _message(talk, content=[], stop_reason=None, output_tokens=1)
    yield _frame("message_start", {"message": opening}, tokens=0)
    yield _frame("ping", {}, tokens=0)
    sent = 0
    for index, (block, deltas) in enumerate(_blocks(talk.answer)):
        yield _frame("content_block_start", {"index": index, "content_block": block}, tokens=sent)
        for delta, tokens in deltas:
            sent += tokens
            is_content = tokens > 0
            yield _frame("content_block_delta", {"index": index, "delta": delta}, tokens=sent, is_content=is_content)
        yield _frame("content_block_stop", {"index": index}, tokens=sent)
    ending: dict[str, Any] = {
        "delta": {"stop_reason": talk.stop_reason, "stop_sequence": talk.answer.stop_sequence},
    }
    usage = talk.faults.bend_usage(shape_usage(talk, output_tokens=talk.usage.completion_tokens))
    ending["usage"] = {} if usage is None else {
        name: value for name, value in usage.items() if name.endswith("_tokens")}  # fmt: skip
    yield _frame("message_delta", ending, tokens=sent)
    if not talk.faults.has("nodone"):
        yield _frame("message_stop", {}, tokens=sent)


def _blocks(answer: Answer) -> Iterator[tuple[Body, list[tuple[Body, int]]]]:
    """Each content block's opening and its deltas with their tokens."""
    if answer.reasoning:
        thought = "".join(answer.reasoning)
        deltas: list[tuple[Body, int]] = [({"type": "thinking_delta", "thinking": piece}, 1) for piece in answer.reasoning]
        deltas.append(({"type": "signature_delta", "signature": sign_thinking(thought)}, 0))
        yield {"type": "thinking", "thinking": "", "signature": ""}, deltas
    if answer.pieces:
        yield {"type": "text", "text": ""}, [({"type": "text_delta", "text": piece}, 1) for piece in answer.pieces]
    for call in answer.tool_calls:
        block = {"type": "tool_use", "id": _tool_id(), "name": call.name, "input": {}}
        arguments: list[tuple[Body, int]] = [({"type": "input_json_delta", "partial_json": ""}, NAME_TOKENS)]
        if "".join(call.pieces) == "{}":  # a call without arguments gets no pieces at all
            arguments = [({"type": "input_json_delta", "partial_json": ""}, NAME_TOKENS + len(call.pieces))]
        else:
            arguments += [({"type": "input_json_delta", "partial_json": piece}, 1) for piece in call.pieces]
        yield block, arguments


def _frame(kind: str, members: dict[str, Any], *, tokens: int, is_content: bool = False) -> Frame:
    return Frame(data=dump({"type": kind, **members}), tokens=tokens, event=kind, is_content=is_content)


def _tool_id() -> str:
    return f"toolu_{secrets.token_hex(12)}"


def _input_of(arguments: str) -> Json:
    """The input object of a tool call; one that max_tokens cut is empty."""
    try:
        return json.loads(arguments)
    except ValueError:
        return {}
