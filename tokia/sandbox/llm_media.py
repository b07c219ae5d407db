"""Pictures, sound and moderation: OpenAI's, and Groq's and Mistral's ears. `/llm/<slug>/…/images/…`, `/audio/…`, `/moderations`."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import TYPE_CHECKING, Any

from tokia.sandbox.asgi import BadJson, Request
from tokia.sandbox.faults import FaultSet, plain_model
from tokia.sandbox.llm_delivery import Broken, ClientGone, Delivery, Reply, pause
from tokia.sandbox.llm_keys import knows_key
from tokia.sandbox.llm_ledger import BROKEN, CUT, ERROR, FINISHED, Call, Ledger
from tokia.sandbox.llm_media_answers import SOUND_PIECE_BYTES, answer_images, moderate, speak, speech_frames, transcribe
from tokia.sandbox.llm_media_forms import Form, read_form
from tokia.sandbox.llm_media_rules import (
    refuse_bad_fields,
    refuse_bad_images,
    refuse_bad_sound,
    refuse_bad_speech,
    refuse_unknown_model,
)
from tokia.sandbox.llm_providers import Provider, id_headers
from tokia.sandbox.llm_refusals import ProviderError, scripted_error, unauthorized
from tokia.sandbox.llm_tokens import Usage

if TYPE_CHECKING:
    from tokia.sandbox.llm import Llm

PATH = re.compile(r"(?:/openai)?/v1/(images/(?:generations|edits)|audio/(?:speech|transcriptions|translations)|moderations)")
SOUND_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


async def serve_media(llm: Llm, request: Request, provider: Provider, path: str, request_id: str) -> None:
    """Raises ProviderError."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not knows_key(provider, given):
        raise unauthorized(provider, is_missing=not given)
    if request.method != "POST":
        raise ProviderError(405, "Method not allowed")
    found = PATH.fullmatch(path)
    assert found is not None
    kind = found.group(1)
    form, body = _read(request, kind)
    asked = str(body.get("model") or ("omni-moderation-latest" if kind == "moderations" else ""))
    faults = llm.scripts.take(provider=provider.slug, model=asked)
    call = llm.ledger.open(
        Call(
            id=f"{kind.split('/')[0]}-{secrets.token_hex(12)}", provider=provider.slug, model=asked, kind=kind,
            is_stream=body.get("stream") in (True, "true") or body.get("stream_format") == "sse", faults=faults.names(),
        )
    )  # fmt: skip
    delivery = MediaDelivery(
        request=request, provider=provider, call=call, faults=faults, headers=id_headers(provider, request_id), gate=llm.gate,
        chunk_seconds=llm.chunk_seconds,
    )  # fmt: skip
    try:
        if faults.has("status"):
            after = faults.number("retryafter", -1)
            raise scripted_error(provider, faults.number("status", 500), retry_after=after if after >= 0 else None)
        model = plain_model(asked)
        refuse_bad_fields(body, kind=kind, provider=provider)
        refuse_unknown_model(provider, kind, model)
        if kind == "audio/speech":
            refuse_bad_speech(body, model=model)
        reply, sound = _answer(kind, body, form, model=model, provider=provider, call=call, faults=faults)
    except ProviderError as error:
        call.http_status = error.status
        llm.ledger.close(call, ERROR)
        raise
    if sound is not None:
        await delivery.send_bytes(sound, SOUND_TYPES[body.get("response_format") or "mp3"], reply.usage, ledger=llm.ledger)
    elif reply.body is not None and body.get("response_format") in ("text", "srt", "vtt"):
        text = str(reply.body["text"]).encode()
        await delivery.send_bytes(text, "text/plain; charset=utf-8", reply.usage, ledger=llm.ledger)
    else:
        await delivery.send(reply, ledger=llm.ledger)


def _read(request: Request, kind: str) -> tuple[Form, dict[str, Any]]:
    """Raises ProviderError."""
    is_json = request.headers.get("content-type", "").startswith("application/json")
    if kind in ("audio/transcriptions", "audio/translations") or (kind == "images/edits" and not is_json):
        form = read_form(request)
        return form, {**form.flat()}
    try:
        return Form(), request.json_object()
    except BadJson as error:
        raise ProviderError(400, "We could not parse the JSON body of your request.") from error


def _answer(
    kind: str, body: dict[str, Any], form: Form, *, model: str, provider: Provider, call: Call, faults: FaultSet
) -> tuple[Reply, bytes | None]:
    """Raises ProviderError."""
    if kind == "audio/speech":
        sound, usage = speak(body, model=model)
        if body.get("stream_format") == "sse":
            return Reply(usage=usage, frames=speech_frames(sound, usage, faults=faults)), None
        return Reply(usage=usage), sound
    if kind == "moderations":
        return moderate(body, model=model, call_id=call.id), None
    if kind.startswith("images/"):
        is_edit = kind == "images/edits"
        references = body.get("images") or []
        if is_edit and not (form.files or references):
            raise ProviderError(400, "Missing required parameter: 'image'.", param="image", code="missing_required_parameter")
        refuse_bad_images(body, model=model, pictures=form.files)
        return answer_images(body, pictures=len(form.files) + len(references), is_edit=is_edit, faults=faults), None
    file = refuse_bad_sound(form, body, model=model, provider=provider)
    is_translation = kind == "audio/translations"
    return transcribe(file, body, model=model, provider=provider, is_translation=is_translation, faults=faults), None


class MediaDelivery(Delivery):
    """Answers that are neither JSON nor events: sound, and texts."""

    async def send_bytes(self, data: bytes, content_type: str, usage: Usage, *, ledger: Ledger) -> None:
        """In pieces, as it is made; the ledger bills the whole, as providers that bill by what came in do."""
        self.call.usage = Usage()
        try:
            await self._hold_back()
            await self._send_pieces(data, content_type)
            self.call.usage = usage
            ledger.close(self.call, FINISHED)
        except ClientGone:
            self.call.client_disconnected = True
            self.call.usage = usage
            ledger.close(self.call, CUT)
        except Broken:
            ledger.close(self.call, BROKEN)
            await asyncio.wait({self.request.watch_client()})
        finally:
            self.request.stop_watching()
            ledger.close(self.call, CUT)

    async def _send_pieces(self, data: bytes, content_type: str) -> None:
        headers = dict(self.headers)
        if self.faults.has("longlength"):
            headers["content-length"] = str(len(data) + 20)
        await self.request.start(status=200, content_type=content_type, headers=headers)
        if self.faults.has("slowfirst"):
            await pause(self.request, self.faults.number("slowfirst", 2_000) / 1000)
        for number, at in enumerate(range(0, len(data), SOUND_PIECE_BYTES)):
            if self.faults.has("stallmid") and number == self.faults.number("stallmid", 2):
                await self.gate.wait(self.request, ms=None)
            if self.faults.has("reset") and number == self.faults.number("reset", 2):
                await self._reset()
            await pause(self.request, self.chunk_seconds)
            await self._write(data[at : at + SOUND_PIECE_BYTES])
        while self.faults.has("endless"):
            await self._write(bytes(65_536))
        await self.request.write(b"", more=False)
