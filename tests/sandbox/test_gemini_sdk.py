"""Google's own SDK, pointed straight at the simulated Gemini, and what its API refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types

from tests.sandbox.conftest import Sandbox

HELLO = {"parts": [{"text": "Oi"}], "role": "user"}
WEATHER = {"name": "prever_tempo", "parametersJsonSchema": {"type": "object", "properties": {"cidade": {"type": "string"}}}}
TOOLS = [{"functionDeclarations": [WEATHER]}]
CALL = {"functionCall": {"name": "prever_tempo", "args": {"cidade": "SP"}, "id": "a"}}
SIGNED = {**CALL, "thoughtSignature": "skip_thought_signature_validator"}
RESULT = {"functionResponse": {"name": "prever_tempo", "response": {"output": "22"}, "id": "a"}}


@pytest.fixture(scope="session")
def open_google_client(sandbox: Sandbox) -> Iterator[genai.Client]:
    client = genai.Client(api_key="sandbox-google", http_options=types.HttpOptions(base_url=f"{sandbox.url}/llm/google"))
    yield client
    client.close()


@pytest.fixture
def google(fresh: Sandbox, open_google_client: genai.Client) -> genai.Client:
    return open_google_client


def send(
    sandbox: Sandbox, body: dict[str, Any], *, model: str = "gemini-3.8-flash", verb: str = "generateContent"
) -> httpx.Response:
    headers = {"x-goog-api-key": "sandbox-google"}
    whole = {"contents": [HELLO], **body} if verb == "generateContent" else body
    return sandbox.http.post(f"/llm/google/v1beta/models/{model}:{verb}", json=whole, headers=headers)


@pytest.mark.parametrize("model", ["gemini-2.0-flash", "gemini-2.5-flash", "gemini-4-argon"])
def test_it_answers_and_streams_the_same(fresh: Sandbox, google: genai.Client, model: str) -> None:
    config = types.GenerateContentConfig(system_instruction="Seja breve.", thinking_config=None, max_output_tokens=300)
    whole = google.models.generate_content(model=model, contents="Oi", config=config)
    chunks = list(google.models.generate_content_stream(model=model, contents="Oi", config=config))
    assert whole.text and "".join(chunk.text or "" for chunk in chunks) == whole.text
    assert whole.candidates and whole.candidates[0].finish_reason == types.FinishReason.STOP
    assert chunks[-1].candidates and chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert whole.usage_metadata == chunks[-1].usage_metadata
    assert whole.usage_metadata is not None
    billed = fresh.last_call()["usage"]
    assert whole.usage_metadata.prompt_token_count == billed["prompt_tokens"]
    thoughts = whole.usage_metadata.thoughts_token_count or 0
    assert (whole.usage_metadata.candidates_token_count or 0) + thoughts == billed["completion_tokens"]
    assert thoughts == billed["reasoning_tokens"]


@pytest.mark.parametrize("model", ["gemini-2.5-pro", "gemini-3.8-flash"])
def test_its_chat_calls_a_function_by_itself(google: genai.Client, model: str) -> None:
    def prever_tempo(cidade: str) -> str:
        """O tempo."""
        return f"22 graus em {cidade}"

    chat = google.chats.create(model=model, config=types.GenerateContentConfig(tools=[prever_tempo]))
    answer = chat.send_message("Use prever_tempo")
    assert "22 graus em São Paulo" in (answer.text or "")


def test_it_embeds(fresh: Sandbox, google: genai.Client) -> None:
    texts: Any = ["um", "dois"]  # the SDK's list types are invariant
    told = google.models.embed_content(
        model="gemini-embedding-001", contents=texts, config=types.EmbedContentConfig(output_dimensionality=64)
    )
    assert told.embeddings is not None
    assert [len(item.values or []) for item in told.embeddings] == [64, 64]
    assert fresh.last_call()["usage"]["prompt_tokens"] == 2


def test_it_tells_errors_as_google_does(fresh: Sandbox, google: genai.Client) -> None:
    fresh.script("google", "429", "retryafter:7")
    with pytest.raises(errors.ClientError) as limited:
        google.models.generate_content(model="gemini-2.5-flash", contents="Oi")
    assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert limited.value.details["error"]["details"][0]["retryDelay"] == "7s"
    url = "/llm/google/v1beta/models/gemini-2.5-flash:generateContent"
    wrong = fresh.http.post(url, json={"contents": [HELLO]}, headers={"x-goog-api-key": "x"})
    assert wrong.status_code == 400
    assert wrong.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    assert fresh.http.post(url, json={"contents": [HELLO]}).status_code == 403
    assert send(fresh, {}, model="gpt-4o").status_code == 404


OLD, NEW = "gemini-2.5-flash", "gemini-3.8-flash"


def turns(*parts: list[Any], first: Any = HELLO) -> dict[str, Any]:
    """The user's hello, then the model and the user in turn."""
    said = [{"role": "user" if place % 2 else "model", "parts": inner} for place, inner in enumerate(parts)]
    return {"contents": [first, *said] if first else said}


def part(**members: Any) -> dict[str, Any]:
    return {"contents": [{"parts": [members]}]}


def config(**members: Any) -> dict[str, Any]:
    return {"generationConfig": members}


def declared(**members: Any) -> dict[str, Any]:
    return {"tools": [{"functionDeclarations": [{"name": "a", **members}]}]}


LONELY_REF = {"type": "object", "properties": {"x": {"$ref": "#/$defs/X", "description": "d"}}}
FORGED = {**CALL, "thoughtSignature": "AAAA"}
CHOOSING = {"tools": TOOLS, "toolConfig": {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["a"]}}}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (OLD, {"modelName": "x"}, 'Unknown name "modelName": Cannot find field.'),
    (OLD, part(text="a", cache=1), "Unknown name \"cache\" at 'contents[0].parts[0]'"),
    (OLD, config(max_tokens=5), "Unknown name \"max_tokens\" at 'generationConfig'"),
    (OLD, config(temperature="hot"), "TYPE_FLOAT"),
    (OLD, {"contents": []}, "contents is not specified"),
    (OLD, {"contents": [{"role": "assistant", "parts": [{"text": "a"}]}]}, "valid role"),
    (OLD, {"contents": [{"role": "user", "parts": []}]}, "must not be empty"),
    (OLD, part(thought=True), "must have one initialized field"),
    (OLD, part(text="a", fileData={"fileUri": "https://x"}), "already set"),
    (OLD, part(inlineData={"mimeType": "image/gif", "data": "AAAA"}), "Unsupported MIME"),
    (OLD, part(inlineData={"mimeType": "image/png", "data": "A"}), "Base64"),
    (OLD, part(fileData={"fileUri": "http://x"}), "file uri"),
    (OLD, turns([CALL]), "followed by its function response"),
    (OLD, turns([CALL, CALL], [RESULT]), "number of function"),
    (OLD, turns([CALL], [RESULT], first=None), "immediately after a user turn"),
    (OLD, {"contents": [HELLO, {"parts": [RESULT]}]}, "immediately after a function call turn"),
    (NEW, turns([CALL], [RESULT]), "missing a thought_signature"),
    (NEW, turns([FORGED], [RESULT]), "Corrupted"),
    (NEW, turns([{"text": "Era"}]), "last turn has the role model"),
    (OLD, declared(name="1a"), "Invalid function name"),
    (OLD, {"tools": [{"functionDeclarations": [WEATHER, WEATHER]}]}, "Duplicate"),
    (OLD, {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "without function_declarations"),
    (OLD, CHOOSING, "should be set only when"),
    (OLD, declared(parameters={"type": "OBJECT", "additionalProperties": False}), 'Unknown name "additionalProperties"'),
    (OLD, declared(parameters={"type": "ARRAY"}), "missing field"),
    (OLD, declared(parametersJsonSchema=LONELY_REF), "if $ref is set"),
    (OLD, {"tools": TOOLS, **config(responseMimeType="application/json")}, "is unsupported"),
    (OLD, config(responseJsonSchema={"type": "object"}), "response_mime_type"),
    (OLD, config(presencePenalty=0.5), "Penalty is not enabled"),
    (NEW, config(candidateCount=2), "Multiple candidates"),
    (NEW, config(responseLogprobs=True), "Logprobs is not enabled"),
    (OLD, config(thinkingConfig={"thinkingLevel": "LOW"}), "not supported for this model"),
    (NEW, config(thinkingConfig={"thinkingLevel": "LOW", "thinkingBudget": 5}), "only set only one"),
    (NEW, config(thinkingConfig={"thinkingLevel": "MINIMAL"}), "MINIMAL is not supported"),
    ("gemini-2.5-pro", config(thinkingConfig={"thinkingBudget": 0}), "only works in thinking mode"),
    (OLD, config(seed=2**31), "must be in the range"),
    (OLD, config(stopSequences=list("abcdef")), "at most 5"),
    (OLD, config(responseModalities=["IMAGE"]), "response modalities"),
    (OLD, {"cachedContent": "cachedContents/x"}, "CachedContent not found"),
    (OLD, {"safetySettings": [{"category": "x", "threshold": "NEVER"}]}, "safetySettings.0"),
]


@pytest.mark.parametrize(("model", "body", "expected"), REFUSED, ids=[said for _, _, said in REFUSED])
def test_it_refuses_what_google_refuses(sandbox: Sandbox, model: str, body: dict[str, Any], expected: str) -> None:
    answer = send(sandbox, body, model=model)
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (400, "INVALID_ARGUMENT"), answer.text
    assert expected in error["message"]


def test_it_takes_what_google_takes(sandbox: Sandbox) -> None:
    for model, body in (
        (NEW, {**turns([SIGNED], [RESULT]), "tools": TOOLS}),
        (
            NEW,
            {**turns([CALL], [RESULT], [{"text": "22"}], [{"text": "e?"}]), "tools": TOOLS},
        ),  # an earlier turn needs no signature
        ("gemini-2.5-pro", turns([{"text": "Era"}])),
        (OLD, {"generation_config": {"max_output_tokens": 5}}),
    ):
        assert send(sandbox, body, model=model).status_code == 200
    many = {"requests": [{"model": "models/gemini-embedding-001", "content": HELLO}] * 101}
    assert send(sandbox, many, model="gemini-embedding-001", verb="batchEmbedContents").status_code == 400
