"""A call for moderation: texts, or texts and pictures, and what it can cost: one request, however much is in it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from billing.pricing import Usage
from gateway.calls import ImageUrl, ServedRoute
from gateway.media_fields import check_model
from gateway.parsing import invalid, parse_body
from gateway.tokens import count_texts, scale

MODEL_DEFAULT = "omni-moderation-latest"
INPUTS_MAX = 512
IMAGES_MAX = 20
HIDDEN_TOKENS = 64
IMAGE_TOKENS = 6_000


class Part(msgspec.Struct):
    type: str
    text: str | None = None
    image_url: ImageUrl | None = None


class ModerationBody(msgspec.Struct):
    input: str | list[str | Part]
    model: str | None = None
    drop_params: bool | None = None  # ours


class ModerationCall(msgspec.Struct, frozen=True):
    model: str
    fields: Mapping[str, msgspec.Raw]
    texts: list[str]
    images: int
    results: int  # that the answer must have
    is_stream: bool = False


_decode = msgspec.json.Decoder(ModerationBody).decode


def parse_moderation(body: bytes) -> ModerationCall:
    """Raises BadRequest, with the path of the field at fault."""
    typed, fields, _ = parse_body(body, _decode)
    check_model(model := typed.model or MODEL_DEFAULT)
    given = [typed.input] if isinstance(typed.input, str) else typed.input
    texts = [item for item in given if isinstance(item, str)]
    parts = [item for item in given if isinstance(item, Part)]
    if not given or len(given) > INPUTS_MAX:
        raise invalid("input", f"de 1 a {INPUTS_MAX} itens", f"from 1 to {INPUTS_MAX} items")
    if texts and parts:
        raise invalid("input", "textos, ou partes", "strings, or parts")
    for place, part in enumerate(parts):
        if part.type == "text" and part.text:
            texts.append(part.text)
        elif part.type != "image_url" or part.image_url is None:
            raise invalid(f"input[{place}]", "um texto ou uma imagem", "a text or an image")
    images = sum(part.type == "image_url" for part in parts)
    if images > IMAGES_MAX:
        raise invalid("input", f"no máximo {IMAGES_MAX} imagens", f"at most {IMAGES_MAX} images")
    return ModerationCall(model, fields, texts, images, results=1 if parts else len(given))


def bound_of(call: ModerationCall, route: ServedRoute) -> Usage:
    """The most that it can use."""
    counted = counted_of(call).input_tokens
    return Usage(input_tokens=scale(counted, route.token_factor_percent) + HIDDEN_TOKENS)


def counted_of(call: ModerationCall) -> Usage:
    return Usage(input_tokens=count_texts(call.texts) + call.images * IMAGE_TOKENS)
