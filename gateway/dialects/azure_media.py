"""Azure OpenAI's pictures, speech and transcriptions: OpenAI's words at Azure's addresses. It has no moderation of this shape."""

from __future__ import annotations

import msgspec

from gateway.calls import ServedDeployment
from gateway.dialects import openai_images, openai_speech, openai_transcriptions
from gateway.dialects.azure import address_of
from gateway.dialects.base import UpstreamRequest
from gateway.dialects.openai import read_error
from gateway.dialects.openai_images import open_images, read_images
from gateway.dialects.openai_speech import open_speech, read_delta
from gateway.dialects.openai_transcriptions import open_transcription, read_transcription
from gateway.images_call import ImagesCall
from gateway.speech_call import SpeechCall
from gateway.transcription_call import TranscriptionCall

__all__ = [
    "images_request", "open_images", "open_speech", "open_transcription", "read_delta", "read_error", "read_images",
    "read_transcription", "speech_request", "transcription_request",
]  # fmt: skip


def images_request(call: ImagesCall, deployment: ServedDeployment) -> UpstreamRequest:
    return _at_azure(openai_images.images_request(call, deployment), deployment)


def speech_request(call: SpeechCall, deployment: ServedDeployment, *, as_events: bool) -> UpstreamRequest:
    return _at_azure(openai_speech.speech_request(call, deployment, as_events=as_events), deployment)


def transcription_request(call: TranscriptionCall, deployment: ServedDeployment, *, by_second: bool) -> UpstreamRequest:
    return _at_azure(openai_transcriptions.transcription_request(call, deployment, by_second=by_second), deployment)


def _at_azure(request: UpstreamRequest, deployment: ServedDeployment) -> UpstreamRequest:
    verb = request.url.removeprefix(f"{deployment.base_url}/")
    headers = [("api-key", deployment.secret), *(pair for pair in request.headers if pair[0] != "authorization")]
    return msgspec.structs.replace(request, url=address_of(deployment.base_url, deployment.upstream_model, verb), headers=headers)
