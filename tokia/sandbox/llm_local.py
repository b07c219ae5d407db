"""`/llm/local/v1/…`: the real local model server when it is alive, a simulation that says so when it is not."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx

from tokia.sandbox.asgi import Json, Request
from tokia.sandbox.llm_delivery import ClientGone, refuse_gone
from tokia.sandbox.llm_ledger import BROKEN, CUT, ERROR, FINISHED, Call, Ledger
from tokia.sandbox.llm_openai import render_prompt
from tokia.sandbox.llm_openai_rules import Body
from tokia.sandbox.llm_tokens import Usage, count_tokens

CHECK_SECONDS = 1.0
HEALTH_TIMEOUT_SECONDS = 0.5
TIMEOUT = httpx.Timeout(120.0, connect=2.0)
PASSED_HEADERS = ("content-type",)


@dataclass
class LocalModel:
    """The way to the local model server. `base_url` empty: there is none."""

    base_url: str
    key: str
    _client: httpx.AsyncClient | None = None
    _checked_at: float = field(default=float("-inf"))
    _was_alive: bool = False

    def open(self) -> None:
        self._client = httpx.AsyncClient(timeout=TIMEOUT, trust_env=False)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def is_alive(self) -> bool:
        """Whether the model server answers, asked at most once a second."""
        if not self.base_url or self._client is None:
            return False
        if time.monotonic() - self._checked_at > CHECK_SECONDS:
            self._checked_at = time.monotonic()
            try:
                answer = await self._client.get(f"{self.base_url}/health", timeout=HEALTH_TIMEOUT_SECONDS)
                self._was_alive = answer.status_code == 200
            except httpx.HTTPError:
                self._was_alive = False
        return self._was_alive

    async def relay(self, request: Request, *, path: str, body: Body, call: Call, ledger: Ledger) -> None:
        """Pass the call through, bytes as they come, and read the usage on the way."""
        assert self._client is not None
        upstream = self._client.build_request(
            request.method,
            f"{self.base_url}{path}",
            content=request.body,
            headers={"authorization": f"Bearer {self.key}", "content-type": "application/json"},
        )
        tally = _Tally()
        gone = request.watch_client()
        answer: httpx.Response | None = None
        try:
            answer = await self._client.send(upstream, stream=True)
            call.http_status = answer.status_code
            headers = {"x-request-id": call.id}
            content_type = answer.headers.get("content-type", "application/json")
            await request.start(status=answer.status_code, content_type=content_type, headers=headers)
            async for chunk in _until(answer.aiter_bytes(), gone_check=request):
                tally.feed(chunk, is_stream=call.is_stream)
                await request.write(chunk)
            await request.write(b"", more=False)
            status = FINISHED if answer.status_code == 200 else ERROR
        except ClientGone:
            call.client_disconnected = True
            status = CUT
        except httpx.HTTPError:
            status = BROKEN
            if not request.is_answered:
                await request.start(status=502, content_type="application/json")
                await request.write(b'{"error":{"message":"local model unreachable","type":"server_error"}}', more=False)
        finally:
            gone.cancel()
            if answer is not None:
                await answer.aclose()
        if call.http_status == 200:
            tally.settle(call, body)
        ledger.close(call, status)

    async def read_models(self) -> Json:
        assert self._client is not None
        answer = await self._client.get(f"{self.base_url}/v1/models", headers={"authorization": f"Bearer {self.key}"})
        return answer.json()


async def _until(chunks: AsyncIterator[bytes], *, gone_check: Request) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        refuse_gone(gone_check)
        yield chunk


@dataclass
class _Tally:
    """Reads usage and text from the model's bytes as they pass."""

    usage: Json = None
    pieces: int = 0
    buffer: bytes = b""

    def feed(self, chunk: bytes, *, is_stream: bool) -> None:
        self.buffer += chunk
        if not is_stream:
            return
        *lines, self.buffer = self.buffer.split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                self._read(json.loads(line[6:]))

    def _read(self, event: Json) -> None:
        if event.get("usage"):
            self.usage = event["usage"]
        for choice in event.get("choices", ()):
            delta = choice.get("delta") or {}
            self.pieces += bool(delta.get("content") or delta.get("tool_calls"))

    def settle(self, call: Call, body: Body) -> None:
        if not call.is_stream and self.buffer:
            whole = json.loads(self.buffer)
            self.usage = whole.get("usage")
            texts = [choice.get("message", {}).get("content") or "" for choice in whole.get("choices", ())]
            self.pieces = sum(map(count_tokens, texts))
        if self.usage:
            details = self.usage.get("prompt_tokens_details") or {}
            call.usage = Usage(
                prompt_tokens=self.usage.get("prompt_tokens", 0),
                cached_tokens=details.get("cached_tokens", 0) or 0,
                completion_tokens=self.usage.get("completion_tokens", 0),
            )
        else:
            call.counted_locally = True
            prompt = len(render_prompt(body)) if "messages" in body else 0
            call.usage = Usage(prompt_tokens=prompt, completion_tokens=self.pieces)
