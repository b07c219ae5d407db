"""AWS Bedrock's Converse and ConverseStream: signature and request checked, then answered, with the usage in AWS's words."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tokia.sandbox.asgi import BadJson, Json, Request, dump
from tokia.sandbox.faults import FaultSet, plain_model
from tokia.sandbox.llm_answers import NAME_TOKENS, Answer, Question, Tool, compose, reasoning_tokens_for
from tokia.sandbox.llm_anthropic_rules import sign_thinking
from tokia.sandbox.llm_bedrock_auth import refuse_bad_signature
from tokia.sandbox.llm_bedrock_rules import NEW_CLAUDE, Body, bad, refuse_bad_converse
from tokia.sandbox.llm_bedrock_stream import EventStreamDelivery
from tokia.sandbox.llm_bedrock_types import find_slip
from tokia.sandbox.llm_delivery import Delivery, Frame, Reply
from tokia.sandbox.llm_ledger import ERROR, Call
from tokia.sandbox.llm_providers import Provider, id_headers
from tokia.sandbox.llm_refusals import ProviderError, scripted_error
from tokia.sandbox.llm_tokens import IMAGE_TOKENS, MESSAGE_TOKENS, PromptCache, Usage, split_tokens

if TYPE_CHECKING:
    from tokia.sandbox.llm import Llm

PATH = re.compile(r"/model/(.+)/(converse|converse-stream)")
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
STOP_WISH = re.compile(r"\[stop_reason=([a-z_]+)\]")  # in the user's text: this answer ends so
REDACTED_WISH = "[redacted]"  # its thinking comes sealed
REASONING_MODEL = re.compile(r"openai\.gpt|deepseek\.r1")


@dataclass
class Talk:
    """One Converse call on its way to an answer."""

    faults: FaultSet
    usage: Usage
    answer: Answer
    user_text: str
    is_signed: bool  # a Claude signs its thinking
    is_hour: bool

    @property
    def stop_reason(self) -> str:
        wish = STOP_WISH.search(self.user_text)
        if wish:
            return wish[1]
        return "stop_sequence" if self.answer.stop_sequence else STOP_REASONS[self.answer.finish]


async def serve_converse(llm: Llm, request: Request, provider: Provider, path: str, request_id: str) -> None:
    """Answer one call. Raises ProviderError."""
    refuse_bad_signature(request, provider)
    found = PATH.fullmatch(path)
    if found is None or request.method != "POST":
        raise ProviderError(404, "Unknown operation.", kind="UnknownOperationException")
    asked, is_stream = unquote(found[1]), found[2] == "converse-stream"
    faults = llm.scripts.take(provider=provider.slug, model=asked)
    call = llm.ledger.open(
        Call(id=request_id, provider=provider.slug, model=asked, kind="chat", is_stream=is_stream, faults=faults.names())
    )
    try:
        if faults.has("status"):
            after = faults.number("retryafter", -1)
            raise scripted_error(provider, faults.number("status", 500), retry_after=after if after >= 0 else None)
        body = _read_body(request)
        model = plain_model(asked)
        if not re.fullmatch(provider.chat_models, model):
            raise bad("The provided model identifier is invalid.")
        if slip := find_slip(body, model=model):
            raise bad(slip)
        refuse_bad_converse(body, model=model)
        reply = answer_converse(body, provider=provider, model=model, is_stream=is_stream, faults=faults, cache=llm.cache)
    except ProviderError as error:
        call.http_status = error.status
        llm.ledger.close(call, ERROR)
        raise
    kind = EventStreamDelivery if is_stream else WholeDelivery
    delivery = kind(
        request=request, provider=provider, call=call, faults=faults, headers=id_headers(provider, request_id), gate=llm.gate,
        chunk_seconds=llm.chunk_seconds,
    )  # fmt: skip
    await delivery.send(reply, ledger=llm.ledger)


class WholeDelivery(Delivery):
    bills_on = True


def _read_body(request: Request) -> Body:
    try:
        return request.json_object()
    except BadJson as error:
        raise ProviderError(400, str(error), kind="SerializationException") from error


def answer_converse(body: Body, *, provider: Provider, model: str, is_stream: bool, faults: FaultSet, cache: PromptCache) -> Reply:
    """The reply to a request that passed the rules. Raises ProviderError when the prompt does not fit."""
    tokens, ends, is_hour = render_prompt(body)
    usage = Usage(prompt_tokens=len(tokens))
    if usage.prompt_tokens > provider.context_of(model):
        raise bad("Input is too long for requested model.")
    usage.cached_tokens, usage.cache_write_tokens = cache.match_breakpoints(scope=f"bedrock {model}", tokens=tokens, ends=ends)
    question = _read_question(body, model=model, prompt_tokens=usage.prompt_tokens, faults=faults)
    answer = compose(question)
    usage.completion_tokens = answer.tokens  # Converse does not tell the thinking's share
    talk = Talk(faults, usage, answer, question.user_text, "anthropic" in model, is_hour)
    if is_stream:
        return Reply(usage=usage, frames=list(_frames(talk)))
    return Reply(usage=usage, body=_whole(talk))


# ── The prompt ───────────────────────────────────────────────────────────────────────────────────────────────────────
def render_prompt(body: Body) -> tuple[list[str], list[int], bool]:
    """Every token in the cache's order (tools, system, messages), where the cache points are, and whether one is for an hour."""
    tokens: list[str] = []
    ends: list[int] = []
    is_hour = False
    lists = [(body.get("toolConfig") or {}).get("tools") or [], body.get("system") or []]
    for blocks in lists + [[{"role": message["role"]}, *message["content"]] for message in body["messages"]]:
        for block in blocks:
            if "cachePoint" in block:
                ends.append(len(tokens))
                is_hour = is_hour or block["cachePoint"].get("ttl") == "1h"
            else:
                tokens += _tokens_of(block)
    return tokens + ["<assistant>"] * MESSAGE_TOKENS, ends, is_hour


def _tokens_of(block: Body) -> list[str]:
    [(kind, value)] = block.items()
    match kind:
        case "role":
            return [f"<{value}>"] * MESSAGE_TOKENS
        case "text":
            return split_tokens(value)
        case "image" | "document" | "audio":
            return ["<image>"] * IMAGE_TOKENS
        case "toolResult":
            return [token for inner in value["content"] for token in _tokens_of(inner)]
        case "reasoningContent":
            return split_tokens((value.get("reasoningText") or {}).get("text") or value.get("redactedContent") or "")
        case _:
            return split_tokens(dump(value).decode())


def _read_question(body: Body, *, model: str, prompt_tokens: int, faults: FaultSet) -> Question:
    texts = [
        "\n".join(block["text"] for block in message["content"] if "text" in block)
        for message in body["messages"]
        if message["role"] == "user"
    ]
    results = [block["toolResult"] for block in body["messages"][-1]["content"] if "toolResult" in block]
    result_text = "\n".join(inner.get("text", "") for result in results for inner in result["content"])
    config, extra = body.get("inferenceConfig") or {}, body.get("additionalModelRequestFields") or {}
    choice = (body.get("toolConfig") or {}).get("toolChoice") or {}
    tools = [tool["toolSpec"] for tool in (body.get("toolConfig") or {}).get("tools") or () if "toolSpec" in tool]
    wanted = (body.get("outputConfig") or {}).get("textFormat")
    return Question(
        model=model,
        user_text=next((text for text in reversed(texts) if text), ""),
        tool_result=result_text if results else None,
        tools=[Tool(tool["name"], tool["inputSchema"]["json"]) for tool in tools],
        tool_choice="required" if "any" in choice else choice["tool"]["name"] if "tool" in choice else "auto",
        is_parallel=not (extra.get("tool_choice") or {}).get("disable_parallel_tool_use"),
        json_schema=json.loads(wanted["structure"]["jsonSchema"]["schema"]) if wanted else None,
        max_tokens=config.get("maxTokens"),
        stop=config.get("stopSequences") or (),
        reasoning_tokens=_reasoning_tokens(body, model=model, prompt_tokens=prompt_tokens),
        has_separators=faults.has("separators"),
    )


def _reasoning_tokens(body: Body, *, model: str, prompt_tokens: int) -> int:
    extra = body.get("additionalModelRequestFields") or {}
    thinking = extra.get("thinking") or {}
    effort = (body.get("outputConfig") or {}).get("effort") or extra.get("reasoning_effort")
    effort = effort or (extra.get("reasoningConfig") or {}).get("maxReasoningEffort")
    thinks = thinking.get("type") in ("enabled", "adaptive") or "reasoningConfig" in extra or REASONING_MODEL.search(model)
    if not thinks or (NEW_CLAUDE.search(model) and not thinking):
        return 0
    most = reasoning_tokens_for(prompt_tokens=prompt_tokens, effort=effort)
    return min(most, int(thinking.get("budget_tokens", most)))


# ── The answer ───────────────────────────────────────────────────────────────────────────────────────────────────────
def shape_usage(talk: Talk) -> Body | None:
    """AWS's usage: three disjoint input numbers, thinking within the output; None where a fault keeps it back."""
    usage = talk.usage
    read, written = usage.cached_tokens, usage.cache_write_tokens
    shaped: Body = {
        "inputTokens": usage.prompt_tokens - read - written,
        "outputTokens": usage.completion_tokens,
        "totalTokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if read or written:
        shaped |= {"cacheReadInputTokens": read, "cacheWriteInputTokens": written}
        shaped["cacheDetails"] = [{"ttl": "1h" if talk.is_hour else "5m", "inputTokens": written}] if written else []
    if talk.faults.has("overshoot"):
        shaped["outputTokens"] *= 3
    return talk.faults.bend_usage(shaped)


def _blocks(talk: Talk) -> Iterator[tuple[str, list[str], Body]]:
    """Each content block: its kind, its pieces, and what it has beside them."""
    if talk.answer.reasoning and REDACTED_WISH in talk.user_text:
        yield "redacted", talk.answer.reasoning, {}
    elif talk.answer.reasoning:
        thought = "".join(talk.answer.reasoning)
        yield "reasoning", talk.answer.reasoning, {"signature": sign_thinking(thought)} if talk.is_signed else {}
    if talk.answer.pieces:
        yield "text", talk.answer.pieces, {}
    for call in talk.answer.tool_calls:
        yield "tool", call.pieces, {"toolUseId": f"tooluse_{secrets.token_urlsafe(16)}", "name": call.name}


def _whole(talk: Talk) -> Body:
    content: list[Body] = []
    for kind, pieces, beside in _blocks(talk):
        whole = "".join(pieces)
        if kind == "redacted":
            content.append({"reasoningContent": {"redactedContent": "c2VsYWRv"}})
        elif kind == "reasoning":
            content.append({"reasoningContent": {"reasoningText": {"text": whole, **beside}}})
        elif kind == "text":
            content.append({"text": whole})
        else:
            content.append({"toolUse": {**beside, "input": _input_of(whole)}})
    body: Body = {"metrics": {"latencyMs": 12}, "output": {"message": {"role": "assistant", "content": content}}}
    body["stopReason"] = talk.stop_reason
    usage = shape_usage(talk)
    return body if usage is None else {**body, "usage": usage}


def _frames(talk: Talk) -> Iterator[Frame]:
    yield _frame("messageStart", {"role": "assistant"}, tokens=0)
    sent = 0
    for index, (kind, pieces, beside) in enumerate(_blocks(talk)):
        if kind == "tool":
            sent += NAME_TOKENS
            yield _frame("contentBlockStart", {"start": {"toolUse": beside}, "contentBlockIndex": index}, tokens=sent)
            pieces = [] if "".join(pieces) == "{}" else pieces  # a call without arguments gets no pieces at all
        elif kind == "redacted":
            delta: Body = {"reasoningContent": {"redactedContent": "c2VsYWRv"}}
            sent += len(pieces)
            yield _frame("contentBlockDelta", {"delta": delta, "contentBlockIndex": index}, tokens=sent, is_content=True)
            pieces = []
        for piece in pieces:
            sent += 1
            delta = {"toolUse": {"input": piece}} if kind == "tool" else {"text": piece}
            delta = {"reasoningContent": delta} if kind == "reasoning" else delta
            yield _frame("contentBlockDelta", {"delta": delta, "contentBlockIndex": index}, tokens=sent, is_content=True)
        if "signature" in beside:
            delta = {"reasoningContent": {"signature": beside["signature"]}}
            yield _frame("contentBlockDelta", {"delta": delta, "contentBlockIndex": index}, tokens=sent)
        yield _frame("contentBlockStop", {"contentBlockIndex": index}, tokens=sent)
    if talk.faults.has("nodone"):
        return
    yield _frame("messageStop", {"stopReason": talk.stop_reason}, tokens=sent)
    usage = shape_usage(talk)
    if usage is not None:
        yield _frame("metadata", {"usage": usage, "metrics": {"latencyMs": 12}}, tokens=talk.usage.completion_tokens)


def _frame(kind: str, members: Body, *, tokens: int, is_content: bool = False) -> Frame:
    padding = "abcdefghijklmnopqrstuvwxyz"[: secrets.randbelow(20)]  # AWS hides lengths behind `p`
    return Frame(data=dump({**members, "p": padding}), tokens=tokens, event=kind, is_content=is_content)


def _input_of(arguments: str) -> Json:
    """The input object of a tool call; one that max_tokens cut is empty."""
    try:
        return json.loads(arguments)
    except ValueError:
        return {}
