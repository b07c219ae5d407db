"""Our signatures, case by case beside botocore's own signer."""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.bedrock import address_of
from gateway.dialects.sigv4 import AccessKey, read_access_key, sign_post

AT = dt.datetime(2026, 11, 22, 23, 59, 59, tzinfo=dt.UTC)
HOST = "https://bedrock-runtime.sa-east-1.amazonaws.com"
ARN = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-sonnet-4-6-v1%3A0"
URLS = [
    f"{HOST}/model/us.anthropic.claude-sonnet-4-6-v1%3A0/converse",
    f"{HOST}/model/{ARN}/converse-stream",
    f"{HOST}/",
    HOST,
    f"{HOST}/a/../b/./c//d/",
    f"{HOST}/a?b=2&a=1&a=0&x=%20y&empty=",
    "http://127.0.0.1:8090/llm/bedrock/model/m/converse",
    f"{HOST}/caf%C3%A9/~x",
]


def theirs(url: str, headers: list[tuple[str, str]], body: bytes, key: AccessKey, region: str, monkeypatch: Any) -> str:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *args, **kwargs: AT)
    request = AWSRequest(method="POST", url=url, data=body, headers=dict(headers))
    SigV4Auth(Credentials(key.id, key.secret, key.session_token or None), "bedrock", region).add_auth(request)
    return str(request.headers["Authorization"])


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("token", ["", "IQoJb3JpZ2luX2VjE//+=="])
@pytest.mark.parametrize("body", [b"", b'{"messages":[]}', "ação ✓".encode()])
def test_it_signs_as_botocore_does(url: str, token: str, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    key = AccessKey("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", token)
    headers = [("content-type", "application/json"), ("x-amzn-note", "  two   spaces ")]
    signed = dict(sign_post(url=url, headers=headers, body=body, key=key, region="sa-east-1", service="bedrock", at=AT))
    assert signed["authorization"] == theirs(url, headers, body, key, "sa-east-1", monkeypatch)
    assert signed["x-amz-date"] == "20261122T235959Z"
    assert signed.get("x-amz-security-token", "") == token


@given(
    model=st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=40),
    body=st.binary(max_size=200),
    secret=st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60),
)
def test_it_signs_any_model_name_and_body_as_botocore_does(model: str, body: bytes, secret: str) -> None:
    url = f"{HOST}/model/{quote(model, safe='')}/converse"
    key = AccessKey("AKIA", secret)
    headers = [("content-type", "application/json")]
    signed = dict(sign_post(url=url, headers=headers, body=body, key=key, region="us-east-1", service="bedrock", at=AT))
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert signed["authorization"] == theirs(url, headers, body, key, "us-east-1", monkeypatch)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("AKIA:secret", AccessKey("AKIA", "secret")),
        ("ASIA:se/cr+et=:to:ken==", AccessKey("ASIA", "se/cr+et=", "to:ken==")),
        ("ABSKQmVkcm9jaw==", None),
        ("AKIA:", None),
        (":secret", None),
        ("", None),
    ],
)
def test_it_reads_an_access_key(text: str, key: AccessKey | None) -> None:
    assert read_access_key(text) == key


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        (HOST, (HOST, "sa-east-1")),
        ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com/",
         ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1")),
        ("https://vpce-1-x.bedrock-runtime.eu-west-1.vpce.amazonaws.com",
         ("https://vpce-1-x.bedrock-runtime.eu-west-1.vpce.amazonaws.com", "eu-west-1")),
        ("http://127.0.0.1:8090/llm/bedrock?region=sa-east-1", ("http://127.0.0.1:8090/llm/bedrock", "sa-east-1")),
        ("https://proxy.example.com/aws", ("https://proxy.example.com/aws", "us-east-1")),
    ],
)  # fmt: skip
def test_it_finds_the_region(base_url: str, expected: tuple[str, str]) -> None:
    assert address_of(base_url) == expected
