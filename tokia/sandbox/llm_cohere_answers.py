"""Cohere's v2 API: a checked request → a whole answer or a stream's events, with what Cohere bills for it.

Billed are the tokens without the preamble that Cohere puts before them; thinking is billed as output and not told apart.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tokia.sandbox.asgi import Json, dump
from tokia.sandbox.faults import FaultSet
from tokia.sandbox.llm_answers import NAME_TOKENS, Answer, Question, Tool, compose, reasoning_tokens_for
from tokia.sandbox.llm_cohere_rules import Body, is_reasoning, text_of
from tokia.sandbox.llm_delivery import Frame, Reply
from tokia.sandbox.llm_openai import LOGPROB, embed
from tokia.sandbox.llm_providers import Provider
from tokia.sandbox.llm_refusals import ProviderError
from tokia.sandbox.llm_tokens import IMAGE_TOKENS, MESSAGE_TOKENS, PromptCache, Usage, count_tokens, split_tokens

FINISH = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}
PREAMBLE_TOKENS = 66  # counted in `tokens`, never billed
CITED_TOKENS = 4
DIMENSION = 1536
DOCUMENTS_PER_SEARCH, PART_TOKENS, QUERY_TOKENS, DOCUMENT_TOKENS = 100, 500, 256, 4_096


@dataclass
class Talk:
    """One chat call on its way to an answer."""

    body: Body
    call_id: str
    faults: FaultSet
    usage: Usage
    answer: Answer
    plan: list[str]  # what the model says before it calls tools

    @property
    def finish_reason(self) -> str:
        if self.faults.has("errorfinish"):
            return "TIMEOUT" if self.faults.number("errorfinish", 0) == 504 else "ERROR"
        return "STOP_SEQUENCE" if self.answer.stop_sequence is not None else FINISH[self.answer.finish]


# ── Chat ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def answer_chat(body: Body, *, provider: Provider, model: str, call_id: str, faults: FaultSet, cache: PromptCache) -> Reply:
    """The reply to a request that passed the rules. Raises ProviderError when the prompt does not fit."""
    prompt = render_prompt(body)
    usage = Usage(prompt_tokens=len(prompt))
    context = provider.context_of(model)
    if usage.prompt_tokens > context:
        text = f"too many tokens: total number of tokens in the prompt cannot exceed {context} - received {usage.prompt_tokens}."
        raise ProviderError(400, text)
    usage.cached_tokens = cache.match_prefix(scope=f"{provider.slug} {model}", tokens=prompt)
    answer = compose(_read_question(body, model=model, prompt_tokens=usage.prompt_tokens, faults=faults))
    plan = _plan(body, answer) if answer.finish == "tool_calls" and not answer.reasoning else []
    usage.completion_tokens = answer.tokens + len(plan)
    talk = Talk(body, call_id, faults, usage, answer, plan)
    return Reply(usage=usage, frames=list(_frames(talk))) if body.get("stream") else Reply(usage=usage, body=_whole(talk))


def render_prompt(body: Body) -> list[str]:
    """Every token of the prompt that is billed, in order: tools, documents, messages."""
    tokens: list[str] = []
    for item in (*(body.get("tools") or ()), *(body.get("documents") or ())):
        tokens += split_tokens(item if isinstance(item, str) else dump(item).decode())
    if (body.get("response_format") or {}).get("json_schema"):
        tokens += split_tokens(dump(body["response_format"]["json_schema"]).decode())
    for message in body["messages"]:
        tokens += [f"<{message['role']}>"] * MESSAGE_TOKENS
        content = message.get("content")
        tokens += split_tokens(f"{message.get('tool_plan') or ''}{text_of(content)}")
        for part in content if isinstance(content, list) else ():
            tokens += ["<image>"] * (IMAGE_TOKENS if "image_url" in part else 0)
            tokens += split_tokens(part.get("thinking") or "")
        for call in message.get("tool_calls") or ():
            tokens += split_tokens(dump(call["function"]).decode())
    return tokens + ["<assistant>"] * MESSAGE_TOKENS


def _read_question(body: Body, *, model: str, prompt_tokens: int, faults: FaultSet) -> Question:
    messages = body["messages"]
    users = [text_of(message["content"]) for message in messages if message["role"] == "user"]
    last = messages[-1]
    wanted = body.get("response_format") or {}
    thinking = body.get("thinking") or {}
    thoughts = reasoning_tokens_for(prompt_tokens=prompt_tokens, effort=None)
    return Question(
        model=model,
        user_text=users[-1] if users else "",
        tool_result=text_of(last["content"]) if last["role"] == "tool" else None,
        tools=[Tool(tool["function"]["name"], tool["function"]["parameters"]) for tool in body.get("tools") or ()],
        tool_choice={"REQUIRED": "required", "NONE": "none"}.get(body.get("tool_choice") or "", "auto"),
        json_schema=(wanted.get("json_schema") or {}) if wanted.get("type") == "json_object" else None,
        max_tokens=body.get("max_tokens"),
        stop=body.get("stop_sequences") or (),
        reasoning_tokens=min(thoughts, thinking.get("token_budget", thoughts))
        if is_reasoning(model) and thinking.get("type") != "disabled"
        else 0,
        has_separators=faults.has("separators"),
    )


def _plan(body: Body, answer: Answer) -> list[str]:
    pieces = split_tokens(f"Vou usar {', '.join(call.name for call in answer.tool_calls)} para responder.")
    limit = body.get("max_tokens")
    return pieces if limit is None or answer.tokens + len(pieces) <= limit else []


def shape_usage(talk: Talk) -> dict[str, Any] | None:
    """Numbers leave with a decimal point, as the published types have them."""
    usage = talk.usage
    billed = {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
    counted = {"input_tokens": usage.prompt_tokens + PREAMBLE_TOKENS, "output_tokens": usage.completion_tokens}
    bent = talk.faults.bend_usage({"billed_units": billed, "tokens": counted, "cached_tokens": usage.cached_tokens})
    return None if bent is None else with_points(bent)


def with_points(value: dict[str, Any]) -> dict[str, Any]:
    pointed: dict[str, Any] = {}
    for name, item in value.items():
        pointed[name] = with_points(item) if isinstance(item, dict) else float(item) if isinstance(item, int) else item
    return pointed


def _cite(talk: Talk) -> list[Body]:
    """The first words of an answer that had documents or tool results are drawn from the first of them."""
    mode = (talk.body.get("citation_options") or {}).get("mode")
    if mode in ("OFF", "DISABLED") or not talk.answer.pieces:
        return []
    last = talk.body["messages"][-1]
    source: Body
    if last["role"] == "tool":
        source = {"type": "tool", "id": f"{last['tool_call_id']}:0", "tool_output": _as_object(text_of(last["content"]))}
    elif talk.body.get("documents"):
        first = talk.body["documents"][0]
        document = {"text": first} if isinstance(first, str) else first["data"]
        name = "doc:0" if isinstance(first, str) else first.get("id", "doc:0")
        source = {"type": "document", "id": name, "document": {"id": name, **document}}
    else:
        return []
    text = "".join(talk.answer.pieces[:CITED_TOKENS])
    return [{"start": 0, "end": len(text), "text": text, "sources": [source], "type": "TEXT_CONTENT"}]


def _as_object(text: str) -> Body:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"content": text}


def _logprob(piece: str) -> Body:
    return {"text": piece, "token_ids": [int.from_bytes(hashlib.sha256(piece.encode()).digest()[:2])], "logprobs": [LOGPROB]}


def _whole(talk: Talk) -> dict[str, Any]:
    answer = talk.answer
    message: Body = {"role": "assistant"}
    content: list[Body] = []
    if answer.reasoning:
        content.append({"type": "thinking", "thinking": "".join(answer.reasoning)})
    if answer.pieces:
        content.append({"type": "text", "text": answer.text})
    if content:
        message["content"] = content
    if talk.plan:
        message["tool_plan"] = "".join(talk.plan)
    if answer.tool_calls:
        message["tool_calls"] = [
            {"id": _tool_id(call.name), "type": "function", "function": {"name": call.name, "arguments": "".join(call.pieces)}}
            for call in answer.tool_calls
        ]
    if citations := _cite(talk):
        message["citations"] = citations
    whole: dict[str, Any] = {"id": talk.call_id, "finish_reason": talk.finish_reason, "message": message}
    if talk.body.get("logprobs"):
        whole["logprobs"] = [_logprob(piece) for piece in answer.pieces]
    usage = shape_usage(talk)
    if usage is not None:
        whole["usage"] = usage
    return whole


def _frames(talk: Talk) -> Iterator[Frame]:
    sent = 0
    yield _frame("message-start", sent, id=talk.call_id, delta={"message": _empty_message()})
    for kind, members, tokens in _events(talk):
        sent += tokens
        yield _frame(kind, sent, is_content=tokens > 0, **members)
    if talk.faults.has("nodone"):
        return
    delta: dict[str, Any] = {"finish_reason": talk.finish_reason}
    if talk.faults.has("errorfinish"):
        delta["error"] = "the generation failed"
    usage = shape_usage(talk)
    if usage is not None:
        delta["usage"] = usage
    yield _frame("message-end", sent, id=talk.call_id, delta=delta)


def _empty_message() -> Body:
    return {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}


def _events(talk: Talk) -> Iterator[tuple[str, Body, int]]:
    """`(event, its members, its tokens)` in Cohere's order."""
    answer, index = talk.answer, 0
    for kind, pieces in (("thinking", answer.reasoning), ("text", answer.pieces)):
        if not pieces:
            continue
        yield "content-start", {"index": index, "delta": _said({"content": {"type": kind, kind: ""}})}, 0
        for piece in pieces:
            members: Body = {"index": index, "delta": _said({"content": {kind: piece}})}
            if talk.body.get("logprobs") and kind == "text":
                members["logprobs"] = _logprob(piece)
            yield "content-delta", members, 1
        for number, citation in enumerate(_cite(talk) if kind == "text" else ()):
            yield "citation-start", {"index": number, "delta": _said({"citations": citation})}, 0
            yield "citation-end", {"index": number}, 0
        yield "content-end", {"index": index}, 0
        index += 1
    for piece in talk.plan:
        yield "tool-plan-delta", {"delta": _said({"tool_plan": piece})}, 1
    for number, call in enumerate(answer.tool_calls):
        function = {"name": call.name, "arguments": ""}
        opening = {"id": _tool_id(call.name), "type": "function", "function": function}
        yield "tool-call-start", {"index": number, "delta": _said({"tool_calls": opening})}, NAME_TOKENS
        for piece in call.pieces:
            delta = _said({"tool_calls": {"function": {"arguments": piece}}})
            yield "tool-call-delta", {"index": number, "delta": delta}, 1
        yield "tool-call-end", {"index": number}, 0


def _said(message: Body) -> Body:
    return {"message": message}


def _frame(kind: str, tokens: int, *, is_content: bool = False, **members: Json) -> Frame:
    return Frame(data=dump({"type": kind, **members}), tokens=tokens, event=kind, is_content=is_content)


def _tool_id(name: str) -> str:
    return f"{name}_{secrets.token_hex(6)}"


# ── Embed and rerank ─────────────────────────────────────────────────────────────────────────────────────────────────
def answer_embed(body: Body, *, call_id: str, faults: FaultSet) -> Reply:
    """Unit vectors that depend on the text and on what it is for."""
    size = body.get("output_dimension") or DIMENSION
    tokens = sum(count_tokens(text) for text in body["texts"])
    vectors = [embed(f"{body['input_type']} {text}", size) for text in body["texts"]]
    meta: dict[str, Any] = {"api_version": {"version": "2"}}
    billed = faults.bend_usage({"input_tokens": tokens})
    if billed is not None:
        meta["billed_units"] = with_points(billed)
    whole = {
        "id": call_id, "response_type": "embeddings_by_type", "embeddings": {"float": vectors}, "texts": body["texts"],
        "meta": meta,
    }  # fmt: skip
    return Reply(usage=Usage(prompt_tokens=tokens), body=whole)


def answer_rerank(body: Body, *, call_id: str, faults: FaultSet) -> Reply:
    """Documents by the share of the query's words that they hold."""
    query, documents = body["query"], body["documents"]
    words = _words(query)
    scores = []
    for index, document in enumerate(documents):
        shared = len(words & _words(document)) / len(words)
        noise = hashlib.sha256(f"{query}{document}".encode("utf-8", "surrogatepass")).digest()[0] / 25_600
        scores.append((round(min(1.0, 0.05 + 0.9 * shared + noise), 7), index))
    scores.sort(key=lambda scored: (-scored[0], scored[1]))
    ranked = [{"index": index, "relevance_score": score} for score, index in scores[: body.get("top_n") or len(documents)]]
    searches = count_searches(query, documents, most=body.get("max_tokens_per_doc") or DOCUMENT_TOKENS)
    meta: dict[str, Any] = {"api_version": {"version": "2"}}
    billed = faults.bend_usage({"search_units": searches})
    if billed is not None:
        meta["billed_units"] = with_points(billed)
    return Reply(usage=Usage(searches=searches), body={"id": call_id, "results": ranked, "meta": meta})


def _words(text: str) -> set[str]:
    return {word.lower().strip(".,;:!?") for word in text.split()}


def count_searches(query: str, documents: list[str], *, most: int) -> int:
    """One per hundred documents; one that is longer than 500 tokens with the query counts once for each such part."""
    room = PART_TOKENS - min(count_tokens(query), QUERY_TOKENS)
    parts = sum(max(1, -(-min(count_tokens(document), most) // room)) for document in documents)
    return -(-parts // DOCUMENTS_PER_SEARCH)
