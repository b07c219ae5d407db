"""What OpenAI, Groq and Mistral refuse of calls for pictures, sound and moderation; OpenAI's published types are the judges."""

from __future__ import annotations

import importlib
import re
from functools import lru_cache
from typing import Any, get_origin

from pydantic import TypeAdapter, ValidationError
from typing_extensions import get_type_hints

from tokia.sandbox.llm_media_forms import Form, Upload
from tokia.sandbox.llm_providers import Provider
from tokia.sandbox.llm_refusals import ProviderError, model_not_found
from tokia.sandbox.llm_types import _drain

Body = dict[str, Any]
FILE_FIELDS = frozenset({"file", "image", "mask", "markup"})
TYPES = {
    "images/generations": ("openai.types.image_generate_params", "ImageGenerateParams"),
    "images/edits": ("openai.types.image_edit_params", "ImageEditParams"),
    "audio/speech": ("openai.types.audio.speech_create_params", "SpeechCreateParams"),
    "audio/transcriptions": ("openai.types.audio.transcription_create_params", "TranscriptionCreateParams"),
    "audio/translations": ("openai.types.audio.translation_create_params", "TranslationCreateParams"),
    "moderations": ("openai.types.moderation_create_params", "ModerationCreateParams"),
}
MODELS = {
    ("openai", "images"): r"gpt-image-(1-mini|1\.5|2|2\.5-(sunburst|flare))(-20\d\d-\d\d-\d\d)?|chatgpt-image-latest",
    ("openai", "audio/speech"): r"tts-1(-hd)?|gpt-4o-mini-tts(-20\d\d-\d\d-\d\d)?",
    ("openai", "audio/transcriptions"): r"whisper-1|gpt-4o(-mini)?-transcribe(-20\d\d-\d\d-\d\d)?|gpt-transcribe",
    ("openai", "audio/translations"): r"whisper-1",
    ("openai", "moderations"): r"omni-moderation-.*",
    ("groq", "audio/transcriptions"): r"whisper-large-v3(-turbo)?",
    ("groq", "audio/translations"): r"whisper-large-v3",
    ("mistral", "audio/transcriptions"): r"voxtral-.*",
}
MISTRAL_FIELDS = frozenset(
    {"model", "file", "file_url", "language", "temperature", "stream", "timestamp_granularities", "diarize", "context_bias"}
)
EXTENSIONS = re.compile(r".*\.(flac|mp3|mp4|mpeg|mpga|m4a|ogg|oga|opus|wav|webm)", re.IGNORECASE)
AUDIO_BYTES_MAX = 25 * 1_048_576
IMAGE_SIZES = ("auto", "1024x1024", "1536x1024", "1024x1536")
FREE_SIZES = re.compile(r"gpt-image-2.*")


def refuse_unknown_model(provider: Provider, kind: str, model: str) -> None:
    """Raises ProviderError."""
    pattern = MODELS.get((provider.slug, "images" if kind.startswith("images/") else kind), r"(?!)")
    if not re.fullmatch(pattern, model):
        raise model_not_found(provider, model)


def refuse_bad_fields(body: Body, *, kind: str, provider: Provider) -> None:
    """Unknown, missing and mistyped fields, by the published types. Raises ProviderError."""
    if provider.slug == "mistral":
        unknown = next((name for name in body if name not in MISTRAL_FIELDS), None)
        if unknown is not None:
            details: list[dict[str, Any]] = [
                {"type": "extra_forbidden", "loc": ["body", unknown], "msg": "Extra inputs are not permitted", "input": "…"}
            ]
            raise ProviderError(422, "Extra inputs are not permitted", details=details)
        return
    adapters, required = _types_of(kind, body.get("stream") in (True, "true"))
    if adapters is None:
        return
    for name in required - FILE_FIELDS - {"stream"}:
        if name not in body:
            raise ProviderError(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    for name, value in body.items():
        if name not in adapters:
            if provider.slug == "groq":
                raise ProviderError(400, f"property '{name}' is unsupported")
            raise ProviderError(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
        if name in FILE_FIELDS or name == "stream" or value is None:
            continue
        try:
            _drain(adapters[name].validate_python(value))
        except ValidationError as error:
            what = error.errors(include_url=False, include_context=False)[0]["msg"]
            raise ProviderError(400, f"Invalid value for '{name}': {what}.", param=name, code="invalid_value") from error


@lru_cache
def _types_of(kind: str, is_stream: bool) -> tuple[dict[str, TypeAdapter[Any]] | None, frozenset[str]]:
    module_name, class_name = TYPES[kind]
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        return None, frozenset()
    shape = getattr(module, class_name + ("Streaming" if is_stream else "NonStreaming"), None) or getattr(module, class_name)
    hints = get_type_hints(shape)
    adapters = {name: TypeAdapter(Any if name in FILE_FIELDS else hint) for name, hint in hints.items()}
    marked = get_type_hints(shape, include_extras=True)
    return adapters, frozenset(name for name, hint in marked.items() if str(get_origin(hint)).endswith("Required"))


# ── Pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def refuse_bad_images(body: Body, *, model: str, pictures: list[Upload]) -> None:
    """What the GPT image models refuse beyond the types. Raises ProviderError."""
    if not 1 <= len(body["prompt"]) <= 32_000:
        raise ProviderError(400, "Invalid 'prompt': string length.", param="prompt", code="string_above_max_length")
    for name in ("response_format", "style"):
        if body.get(name) is not None:
            raise ProviderError(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    if body.get("quality") in ("standard", "hd", "xhigh", "max") and "2.5" not in model:
        raise ProviderError(400, "Invalid value for 'quality'.", param="quality", code="invalid_value")
    if not 1 <= int(body.get("n") or 1) <= 10:
        raise ProviderError(400, "Invalid 'n': integer out of range.", param="n", code="integer_above_max_value")
    size = body.get("size") or "auto"
    if size not in IMAGE_SIZES and not (FREE_SIZES.match(model) and re.fullmatch(r"\d+x\d+", size)):
        raise ProviderError(400, f"Invalid value: '{size}'.", param="size", code="invalid_value")
    if body.get("partial_images") is not None and body.get("stream") not in (True, "true"):
        raise ProviderError(400, "'partial_images' needs 'stream'.", param="partial_images")
    if body.get("background") == "transparent" and body.get("output_format") == "jpeg":
        raise ProviderError(400, "Transparent background is not supported for JPEG.", param="background")
    for picture in pictures:
        if not picture.data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")):
            raise ProviderError(400, "Invalid image file or mode.", param=picture.name, code="invalid_image_file")


# ── Sound ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def refuse_bad_speech(body: Body, *, model: str) -> None:
    """Raises ProviderError."""
    if not 1 <= len(body["input"]) <= 4_096:
        raise ProviderError(400, "Invalid 'input': string length.", param="input", code="string_above_max_length")
    if not 0.25 <= float(body.get("speed") or 1) <= 4:
        raise ProviderError(400, "Invalid 'speed'.", param="speed", code="decimal_above_max_value")
    if model.startswith("tts-1"):
        for name in ("instructions", "stream_format"):
            if body.get(name) not in (None, "audio"):
                raise ProviderError(400, f"'{name}' is not supported with {model}.", param=name, code="unsupported_parameter")


def refuse_bad_sound(form: Form, body: Body, *, model: str, provider: Provider) -> Upload:
    """The file. Raises ProviderError."""
    if len(form.files) != 1 or form.files[0].name != "file":
        raise ProviderError(400, "Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
    [file] = form.files
    if len(file.data) > AUDIO_BYTES_MAX:
        raise ProviderError(413, "Maximum content size limit (26214400) exceeded.")
    if not EXTENSIONS.fullmatch(file.filename):
        raise ProviderError(400, "Unrecognized file format.", param="file")
    wanted = body.get("response_format") or "json"
    if wanted != "json" and provider.slug == "openai" and model != "whisper-1":
        raise ProviderError(
            400, f"response_format '{wanted}' is not compatible with model '{model}'. Use 'json' instead.", param="response_format",
            code="unsupported_value",
        )  # fmt: skip
    if provider.slug == "groq" and wanted not in ("json", "text", "verbose_json"):
        raise ProviderError(400, "response_format must be one of [json, text, verbose_json]", param="response_format")
    if provider.slug == "openai" and body.get("timestamp_granularities") and wanted != "verbose_json":
        raise ProviderError(400, "timestamp_granularities needs verbose_json.", param="timestamp_granularities")
    return file
