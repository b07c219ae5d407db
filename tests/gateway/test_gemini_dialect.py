"""OpenAI's words to Gemini's: golden cases of what is said, refused and left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.calls import ChatCall, ServedDeployment
from gateway.dialects import gemini
from gateway.dialects.gemini_models import abilities_of
from gateway.dialects.gemini_request import translate_chat
from gateway.dialects.gemini_signatures import MARK, STAND_IN, name_call, plain_id, signature_of
from gateway.errors import BadRequest
from gateway.parsing import parse_chat

OLD, BUDGET, PRO, LITE, LEVEL, NEWEST = (
    "gemini-2.0-flash", "gemini-2.5-flash", "gemini-2.5-pro", "gemini-3.5-flash-lite", "gemini-3.8-flash", "gemini-4-argon",
)  # fmt: skip
MODELS = (OLD, BUDGET, PRO, LITE, LEVEL, NEWEST)
PNG = "data:image/png;base64,AAAA"
SIGNATURE = "+/+/abc="


def call_of(messages: list[Any] | None = None, **fields: Any) -> ChatCall:
    return parse_chat(json.dumps({"model": "x/y", "messages": messages or [{"role": "user", "content": "oi"}], **fields}).encode())


def translate(messages: list[Any] | None = None, *, model: str = BUDGET, output_tokens: int = 500, **fields: Any) -> dict[str, Any]:
    return translate_chat(call_of(messages, **fields), model, output_tokens)[0]


def tool(name: str = "soma", **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **function}}


def called(id_: str, name: str = "soma", arguments: str = '{"a":1}', **members: Any) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}, **members}


def deployment(model: str = BUDGET) -> ServedDeployment:
    return ServedDeployment(
        id=1, provider_slug="google", provider_name="Google", dialect="gemini", base_url="https://g.test/v1beta",
        upstream_model=model, priority=1, weight=1, secret="AIzaSecret", is_strict=True, is_simulated=False,
    )  # fmt: skip


# ── Envelope ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("is_stream", "verb"), [(False, "generateContent"), (True, "streamGenerateContent?alt=sse")])
def test_it_asks_at_the_models_own_address_with_the_key_in_its_header(is_stream: bool, verb: str) -> None:
    for model in (BUDGET, f"models/{BUDGET}"):
        request = gemini.chat_request(call_of(stream=is_stream), None, deployment(model), 100)  # type: ignore[arg-type]
        assert request.url == f"https://g.test/v1beta/models/{BUDGET}:{verb}"
        assert ("x-goog-api-key", "AIzaSecret") in request.headers
        assert json.loads(request.body) == {
            "contents": [{"role": "user", "parts": [{"text": "oi"}]}], "generationConfig": {"maxOutputTokens": 100},
        }  # fmt: skip


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_every_system_message_goes_to_the_instruction_and_turns_of_a_role_are_joined() -> None:
    body = translate(
        [
            {"role": "system", "content": "a"},
            {"role": "user", "content": "b"},
            {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": ""}], "name": "Ana"},
            {"role": "developer", "content": [{"type": "text", "text": "d"}]},
            {"role": "assistant", "content": "e"},
            {"role": "assistant", "content": None},
            {"role": "user", "content": "f 😀\u2028"},
        ]
    )
    assert body["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "d"}]}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "b"}, {"text": "c"}]},
        {"role": "model", "parts": [{"text": "e"}]},
        {"role": "user", "parts": [{"text": "f 😀\u2028"}]},
    ]


def test_contents_begin_with_the_user_and_are_never_empty() -> None:
    dot = {"role": "user", "parts": [{"text": "."}]}
    assert translate([{"role": "system", "content": "só"}])["contents"] == [dot]
    assert translate([{"role": "user", "content": ""}])["contents"] == [dot]
    turns = translate([{"role": "assistant", "content": "oi"}, {"role": "user", "content": "e"}])["contents"]
    assert turns[0] == dot and [turn["role"] for turn in turns] == ["user", "model", "user"]


@pytest.mark.parametrize("model", MODELS)
def test_results_stand_in_the_order_of_the_calls_alone_in_their_turn(model: str) -> None:
    """Two calls of one function, answered the other way round: their results may not be swapped."""
    history = [
        {"role": "user", "content": "some"},
        {"role": "assistant", "content": "já vou",
         "tool_calls": [called("x:1"), called("x:2", arguments='{"a":2}'), called("y", "nada", "")]},
        {"role": "tool", "tool_call_id": "y", "content": ""},
        {"role": "tool", "tool_call_id": "x:2", "content": '{"total": 2}'},
        {"role": "tool", "tool_call_id": "x:1", "content": [{"type": "text", "text": "um"}]},
        {"role": "user", "content": "e agora?"},
    ]  # fmt: skip
    contents = translate(history, model=model, tools=[tool()])["contents"]
    said, *calls = contents[1]["parts"]
    assert said == {"text": "já vou"}
    assert [call["functionCall"] for call in calls] == [
        {"name": "soma", "args": {"a": 1}, "id": "x:1"}, {"name": "soma", "args": {"a": 2}, "id": "x:2"},
        {"name": "nada", "args": {}, "id": "y"},
    ]  # fmt: skip
    assert ("thoughtSignature" in calls[0], "thoughtSignature" in calls[1]) == (model in (LITE, LEVEL, NEWEST), False)
    assert contents[2] == {"role": "user", "parts": [
        {"functionResponse": {"name": "soma", "response": {"output": "um"}, "id": "x:1"}},
        {"functionResponse": {"name": "soma", "response": {"total": 2}, "id": "x:2"}},
        {"functionResponse": {"name": "nada", "response": {"output": ""}, "id": "y"}},
    ]}  # fmt: skip
    assert contents[3] == {"role": "user", "parts": [{"text": "e agora?"}]}


@pytest.mark.parametrize(
    ("text", "response"),
    [
        ('{"a": [1, 2.5, null, "x"]}', {"a": [1, 2.5, None, "x"]}),
        ("[1, 2]", {"output": "[1, 2]"}),
        ("nada", {"output": "nada"}),
        ('{"a": 1', {"output": '{"a": 1'}),
        ('{"id": 9007199254740993}', {"output": '{"id": 9007199254740993}'}),  # as a double it would be another number
        ('{"a": "\\ud800"}', {"output": '{"a": "\\ud800"}'}),
        ('{"a":' * 2_000 + "1" + "}" * 2_000, None),
    ],
)
def test_a_result_is_an_object_that_loses_nothing(text: str, response: dict[str, Any] | None) -> None:
    history = [
        {"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [called("a")]},
        {"role": "tool", "tool_call_id": "a", "content": text},
    ]  # fmt: skip
    [part] = translate(history)["contents"][2]["parts"]
    assert part["functionResponse"]["response"] == (response or {"output": text})


def test_signatures_return_by_the_id_by_extra_content_or_by_googles_stand_in() -> None:
    packed = name_call("up-1", SIGNATURE)
    assert packed == f"up-1{MARK}ae845191-_-_abc"
    assert (plain_id(packed), signature_of(packed)) == ("up-1", SIGNATURE)
    assert all(signature_of(packed[:length]) is None for length in range(len(packed)))  # cut on the way
    google: Any = {"extra_content": {"google": {"thought_signature": "other+=="}}}
    for tool_call, model, expected in (
        (called(packed), NEWEST, SIGNATURE), (called(packed), BUDGET, SIGNATURE), (called(packed, **google), NEWEST, "other+=="),
        (called("toolu_01"), NEWEST, STAND_IN), (called("toolu_01"), BUDGET, None), (called(f"a{MARK}%%"), LEVEL, STAND_IN),
        (called("b", extra_content={"google": {"thought_signature": "não é base64"}}), LEVEL, STAND_IN),
    ):  # fmt: skip
        history = [
            {"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [tool_call, called("second")]},
            {"role": "tool", "tool_call_id": "second", "content": "2"},
            {"role": "tool", "tool_call_id": tool_call["id"], "content": "1"},
        ]  # fmt: skip
        contents = translate(history, model=model)["contents"]
        first, second = contents[1]["parts"]
        assert first.get("thoughtSignature") == expected
        assert "thoughtSignature" not in second
        assert first["functionCall"]["id"] == contents[2]["parts"][0]["functionResponse"]["id"] == plain_id(tool_call["id"])
        assert MARK not in json.dumps(contents)


@pytest.mark.parametrize("upstream_id", [None, "", "tem espaço", "x" * 200, f"a{MARK}b"])
def test_ids_are_minted_where_google_gives_none_that_can_travel(upstream_id: str | None) -> None:
    ids = {name_call(upstream_id, None) for _ in range(3)}
    assert len(ids) == 3 and all(id_.startswith("call_") and len(id_) == 29 for id_ in ids)
    assert name_call("abc", "x" * 40_000) == "abc"
    assert name_call("abc", "não") == "abc"


def test_a_text_and_a_picture_of_an_earlier_answer_keep_their_signatures() -> None:
    extra = {"google": {"thought_signature": SIGNATURE}}
    answer = {"role": "assistant", "content": "oi", "extra_content": extra}
    painted = {
        "role": "assistant",
        "content": None,
        "images": [{"type": "image_url", "image_url": {"url": PNG}, "extra_content": extra}],
    }
    contents = translate(
        [{"role": "user", "content": "a"}, answer, {"role": "user", "content": "b"}, painted, {"role": "user", "content": "c"}]
    )["contents"]
    assert contents[1]["parts"] == [{"text": "oi", "thoughtSignature": SIGNATURE}]
    assert contents[3]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": SIGNATURE}]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "image_url", "image_url": {"url": PNG}}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
        ({"type": "image_url", "image_url": "data:image/jpg;base64,AAAA"}, {"inlineData": {"mimeType": "image/jpeg",
         "data": "AAAA"}}),
        ({"type": "image_url", "image_url": {"url": "https://x.test/a.WEBP?b=c"}},
         {"fileData": {"fileUri": "https://x.test/a.WEBP?b=c", "mimeType": "image/webp"}}),
        ({"type": "image_url", "image_url": {"url": "https://x.test/a"}}, {"fileData": {"fileUri": "https://x.test/a"}}),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}, {"inlineData": {"mimeType": "audio/mp3",
         "data": "AAAA"}}),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
         {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}}),
        ({"type": "file", "file": {"file_data": "data:text/plain;charset=utf-8;base64,AAAA"}},
         {"inlineData": {"mimeType": "text/plain", "data": "AAAA"}}),
    ],
)  # fmt: skip
def test_it_translates_media(part: dict[str, Any], expected: dict[str, Any]) -> None:
    assert translate([{"role": "user", "content": [part]}])["contents"][0]["parts"] == [expected]


def test_pictures_that_functions_answer_go_to_models_that_can_see_them() -> None:
    picture = {"type": "image_url", "image_url": {"url": PNG}}
    history = [
        {"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [called("a")]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "veja"}, picture]},
    ]  # fmt: skip
    [part] = translate(history, model=NEWEST)["contents"][2]["parts"]
    assert part["functionResponse"]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]
    with pytest.raises(BadRequest) as refused:
        translate(history, model=BUDGET)
    assert refused.value.param == "messages[2].content"


# ── Parameters ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("model", "fields", "expected"),
    [
        (BUDGET, {"temperature": 1.7, "top_p": 0.5, "top_k": 40, "seed": 7}, {"temperature": 1.7, "topP": 0.5, "topK": 40,
         "seed": 7}),
        (BUDGET, {"stop": "FIM"}, {"stopSequences": ["FIM"]}),
        (BUDGET, {"stop": ["a", "", "b"]}, {"stopSequences": ["a", "b"]}),
        (BUDGET, {"n": 3}, {"candidateCount": 3}),
        (OLD, {"presence_penalty": 1, "frequency_penalty": -0.5}, {"presencePenalty": 1, "frequencyPenalty": -0.5}),
        (NEWEST, {"presence_penalty": 0, "n": 1, "logprobs": False, "temperature": 1, "logit_bias": {},
         "parallel_tool_calls": False}, {}),
        (BUDGET, {"logprobs": True, "top_logprobs": 5}, {"responseLogprobs": True, "logprobs": 5}),
        (BUDGET, {"logprobs": True}, {"responseLogprobs": True}),
        (BUDGET, {"reasoning_effort": "low"}, {"thinkingConfig": {"thinkingBudget": 1_024, "includeThoughts": True}}),
        (BUDGET, {"reasoning_effort": "max"}, {"thinkingConfig": {"thinkingBudget": 24_576, "includeThoughts": True}}),
        (PRO, {"reasoning_effort": "max"}, {"thinkingConfig": {"thinkingBudget": 32_768, "includeThoughts": True}}),
        (BUDGET, {"reasoning_effort": "none"}, {"thinkingConfig": {"thinkingBudget": 0}}),
        (LITE, {"reasoning_effort": "none"}, {"thinkingConfig": {"thinkingLevel": "MINIMAL"}}),
        (LEVEL, {"reasoning_effort": "minimal"}, {"thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True}}),
        (NEWEST, {"reasoning_effort": "medium"}, {"thinkingConfig": {"thinkingLevel": "MEDIUM", "includeThoughts": True}}),
        (NEWEST, {"reasoning_effort": "xhigh"}, {"thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": True}}),
        ("gemini-3-pro-preview", {"reasoning_effort": "medium"}, {"thinkingConfig": {"thinkingLevel": "HIGH",
         "includeThoughts": True}}),
        (BUDGET, {"thinking": {"type": "enabled", "budget_tokens": 5_000}}, {"thinkingConfig": {"thinkingBudget": 5_000,
         "includeThoughts": True}}),
        (BUDGET, {"thinking": {"type": "adaptive"}}, {"thinkingConfig": {"thinkingBudget": -1, "includeThoughts": True}}),
        (BUDGET, {"thinking": {"type": "disabled"}}, {"thinkingConfig": {"thinkingBudget": 0}}),
        (NEWEST, {"thinking": {"type": "enabled", "budget_tokens": 2_000}}, {"thinkingConfig": {"thinkingLevel": "MEDIUM",
         "includeThoughts": True}}),
        (NEWEST, {"extra_body": {"google": {"thinking_config": {"thinking_level": "low", "include_thoughts": True}}}},
         {"thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True}}),
        (OLD, {"reasoning_effort": "none"}, {}),
        (BUDGET, {"response_format": {"type": "text"}}, {}),
        (BUDGET, {"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        (BUDGET, {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"const": 1}}}},
         {"responseMimeType": "application/json", "responseJsonSchema": {"enum": [1]}}),
        (OLD, {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": ["string", "null"]}}}},
         {"responseMimeType": "application/json", "responseSchema": {"type": "STRING", "nullable": True}}),
        ("gemini-2.5-flash-image", {"modalities": ["image"]}, {"responseModalities": ["IMAGE"]}),
        (BUDGET, {"modalities": ["text"]}, {}),
    ],
)  # fmt: skip
def test_it_translates_parameters(model: str, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert translate(model=model, **fields)["generationConfig"] == {"maxOutputTokens": 500, **expected}


@pytest.mark.parametrize(
    ("fields", "declaration", "choice"),
    [
        ({"tools": [tool()]}, {"name": "soma"}, None),
        ({"tools": [tool(description="d", parameters={"type": "object", "properties": {}})]}, {"name": "soma",
         "description": "d"}, None),
        ({"tools": [tool(parameters={"type": "object", "properties": {"a": {"const": 1}}})]},
         {"name": "soma", "parametersJsonSchema": {"type": "object", "properties": {"a": {"enum": [1]}}}}, None),
        ({"tools": [tool()], "tool_choice": "auto"}, {"name": "soma"}, {"mode": "AUTO"}),
        ({"tools": [tool(strict=True)], "tool_choice": "auto"}, {"name": "soma"}, {"mode": "VALIDATED"}),
        ({"tools": [tool(strict=True)], "tool_choice": "required"}, {"name": "soma"}, {"mode": "ANY"}),
        ({"tools": [tool()], "tool_choice": "none"}, {"name": "soma"}, {"mode": "NONE"}),
        ({"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "soma"}}}, {"name": "soma"},
         {"mode": "ANY", "allowedFunctionNames": ["soma"]}),
        ({"tools": [tool()], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool()]}}},
         {"name": "soma"}, {"mode": "VALIDATED", "allowedFunctionNames": ["soma"]}),
    ],
)  # fmt: skip
def test_it_translates_tools(fields: dict[str, Any], declaration: dict[str, Any], choice: dict[str, Any] | None) -> None:
    body = translate(**fields)
    assert body["tools"] == [{"functionDeclarations": [declaration]}]
    assert body.get("toolConfig") == ({"functionCallingConfig": choice} if choice else None)


HELLO = {"role": "user", "content": "oi"}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (BUDGET, {"n": 9}, "n"), (NEWEST, {"n": 2}, "n"), (BUDGET, {"stop": list("abcdef")}, "stop"),
    (BUDGET, {"functions": [{"name": "f"}]}, "functions"), (BUDGET, {"tools": [{"type": "custom", "custom": {}}]}, "tools[0]"),
    (BUDGET, {"tools": [tool("9a")]}, "tools[0].function.name"), (BUDGET, {"tools": [tool(), tool()]}, "tools[1].function.name"),
    (BUDGET, {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "outra"}}}, "tool_choice"),
    (BUDGET, {"tools": [tool()], "tool_choice": "talvez"}, "tool_choice"),
    (BUDGET, {"reasoning_effort": "heroic"}, "reasoning_effort"), (BUDGET, {"top_k": "x"}, "top_k"),
    (BUDGET, {"response_format": {"type": "grammar"}}, "response_format.type"),
    (BUDGET, {"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
    (BUDGET, {"messages": [{"role": "function", "name": "f", "content": "1"}]}, "messages[0].role"),
    (BUDGET, {"messages": [HELLO, {"role": "tool", "tool_call_id": "a", "content": "1"}]}, "messages[1].tool_call_id"),
    (BUDGET, {"messages": [HELLO, {"role": "assistant", "tool_calls": [called("a")]}]}, "messages[1].tool_calls[0]"),
    (BUDGET, {"messages": [HELLO, {"role": "assistant", "tool_calls": [called("a")]},
                           {"role": "tool", "tool_call_id": "b", "content": "1"}]}, "messages[1].tool_calls[0]"),
    (BUDGET, {"messages": [HELLO, {"role": "assistant", "tool_calls": [called("a")]}, {"role": "tool", "tool_call_id": "a",
     "content": "1"},
                           {"role": "tool", "tool_call_id": "a", "content": "2"}]}, "messages[3].tool_call_id"),
    (BUDGET, {"messages": [HELLO, {"role": "assistant", "tool_calls": [called("a", arguments="[1]")]}]},
     "messages[1].tool_calls[0].function.arguments"),
    (BUDGET, {"messages": [HELLO, {"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "messages[1].tool_calls[0].function"),
    (BUDGET, {"messages": [HELLO, {"role": "assistant", "tool_calls": [called("")]}]}, "messages[1].tool_calls[0].id"),
    (BUDGET, {"messages": [HELLO, {"role": "assistant", "audio": {"id": "a"}}]}, "messages[1].audio"),
    (BUDGET, {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": PNG}]}]},
     "messages[0].content[0].type"),
    (BUDGET, {"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, "messages[0].content[0].type"),
    (NEWEST, {"messages": [HELLO, {"role": "assistant", "content": "Era"}]}, "messages[1]"),
    (OLD, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "https://x.test/a.png"}]}]},
     "messages[0].content[0].image_url"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "fields", "param"), REFUSED)
def test_it_refuses_what_gemini_can_not_say(model: str, fields: dict[str, Any], param: str) -> None:
    fields = {**fields, "drop_params": True}  # these can't be left out either
    messages = fields.pop("messages", None)
    with pytest.raises(BadRequest) as refused:
        translate(messages, model=model, **fields)
    assert refused.value.param == param


@pytest.mark.parametrize(
    "url",
    ["http://x.test/a.png", "http://169.254.169.254/latest", "file:///etc/passwd", "gs://bucket/a.png", "https://",
     "https://[::1", "data:text/html;base64,AAAA",
     "data:image/gif;base64,AAAA", "data:image/png;base64,", "https://generativelanguage.googleapis.com/v1beta/files/abc",
      "https://u:p@x.test/a.png",
     "https://GenerativeLanguage.googleapis.com./v1beta/files/abc"],
)  # fmt: skip
def test_it_sends_no_address_that_only_we_could_open(url: str) -> None:
    with pytest.raises(BadRequest) as refused:
        translate([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])
    assert refused.value.param == "messages[0].content[0].image_url"


@pytest.mark.parametrize(
    ("model", "fields", "name"),
    [
        (BUDGET, {"presence_penalty": 1}, "presence_penalty"), (NEWEST, {"logprobs": True}, "logprobs"),
        (NEWEST, {"reasoning_effort": "none"}, "reasoning_effort"), (PRO, {"reasoning_effort": "none"}, "reasoning_effort"),
        (OLD, {"reasoning_effort": "high"}, "reasoning_effort"), (BUDGET, {"logit_bias": {"1": 1}}, "logit_bias"),
        (BUDGET, {"modalities": ["text", "audio"]}, "modalities"), (BUDGET, {"modalities": [{}]}, "modalities"),
        (BUDGET, {"web_search_options": {}}, "web_search_options"), (BUDGET, {"repetition_penalty": 1.1}, "repetition_penalty"),
        (BUDGET, {"tools": [tool()], "parallel_tool_calls": False}, "parallel_tool_calls"),
        (BUDGET, {"tools": [tool()], "response_format": {"type": "json_object"}}, "response_format"),
        (BUDGET, {"extra_body": {"google": {"cached_content": "x"}}}, "extra_body"), (BUDGET, {"extra_body": 1}, "extra_body"),
    ],
)  # fmt: skip
def test_it_leaves_out_what_changes_the_answer_only_where_it_is_told_to(model: str, fields: dict[str, Any], name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        translate(model=model, **fields)
    assert (refused.value.param, refused.value.code) == (name, "unsupported_parameter")
    _, dropped = translate_chat(call_of(**fields, drop_params=True), model, 100)
    assert dropped == (name,)


def test_it_names_the_hints_that_it_leaves_out() -> None:
    part = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    fields: dict[str, Any] = {
        "user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "flex", "verbosity": "low", "prompt_cache_key": "k",
        "prediction": {"type": "content", "content": "x"}, "safety_identifier": "s", "seed": 2**40, "temperature": 0.2,
         "top_p": 0.1,
    }  # fmt: skip
    _, dropped = translate_chat(call_of([{"role": "user", "content": [part], "name": "Ana"}], **fields), NEWEST, 100)
    assert set(dropped) == {*fields, "cache_control", "messages[].name"}
    neutral: dict[str, Any] = {
        "store": False,
        "service_tier": "auto",
        "metadata": {},
        "verbosity": "medium",
        "user": None,
        "top_p": 1,
    }
    assert translate_chat(call_of(**neutral), NEWEST, 100)[1] == ()


@pytest.mark.parametrize("name", ["gemini-flash-latest", "gemma-4", "x"])
def test_an_unknown_name_counts_as_the_newest(name: str) -> None:
    assert abilities_of(name).needs_signatures
    assert not abilities_of(name).takes_sampling
