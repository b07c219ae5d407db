"""A call for pictures: read from JSON or from a form, and what it can cost.

Pictures are tokens where the route has a price for tokens, and pictures one by one where it has a price for `image`. OpenAI
publishes 272, 1 056 and 4 160 tokens for a square of 1024 pixels in low, medium and high quality, and in proportion for other
sizes. `xhigh` and `max` are not published: twice and four times `high` are held for them. Size `auto` is held as the largest
standard size, quality `auto` as `high`. All that is settled is what the provider says, within what was held.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from billing.pricing import Usage
from gateway.calls import ServedRoute
from gateway.errors import BadRequest
from gateway.media_fields import check_choice, check_file, check_model, check_range, read_fields
from gateway.multipart import File, Form
from gateway.parsing import invalid, parse_body
from gateway.tokens import count_text, scale

IMAGES_MAX = 10
INPUT_IMAGES_MAX = 16
PROMPT_CHARACTERS_MAX = 32_000
FILE_BYTES_MAX = 50 * 1_048_576
SQUARE_PIXELS = 1_024 * 1_024
AUTO_PIXELS = 1_024 * 1_536
SIDE_MAX = 3_840
QUALITY_TOKENS = {"low": 272, "medium": 1_056, "high": 4_160, "xhigh": 8_320, "max": 16_640, "standard": 4_160, "hd": 8_320}
PARTIAL_IMAGE_TOKENS = 100
TEXT_OUTPUT_TOKENS = 2_000  # per picture: what a model plans or rewrites in words before it draws
INPUT_IMAGE_TOKENS = 12_000  # most that a picture to edit is read as, at full fidelity
HIDDEN_TOKENS = 200
_DATA_URL = re.compile(r"data:image/[a-z]{3,4};base64,")
_SIZE = re.compile(r"([1-9][0-9]{1,3})x([1-9][0-9]{1,3})")
FORMATS = ("png", "jpeg", "webp")  # GIF and SVG are billed by frames and by another model: not sold


class ImageReference(msgspec.Struct):
    image_url: str | None = None
    file_id: str | None = None


class ImagesBody(msgspec.Struct):
    """The fields that we read, with OpenAI's types. The rest passes through."""

    model: str
    prompt: str
    n: int | None = None
    size: str | None = None
    quality: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    response_format: str | None = None
    style: str | None = None
    partial_images: int | None = None
    stream: bool | None = None
    images: list[ImageReference] | None = None
    mask: ImageReference | None = None
    drop_params: bool | None = None  # ours


class ImagesCall(msgspec.Struct, frozen=True):
    model: str
    is_edit: bool
    is_stream: bool
    prompt: str
    n: int
    size: str
    quality: str
    partial_images: int
    response_format: str | None
    style: str | None
    fields: Mapping[str, msgspec.Raw]  # of a JSON body; empty for a form
    form: Form | None
    input_images: int
    drops_unsupported: bool


_decode = msgspec.json.Decoder(ImagesBody).decode


def parse_generation(body: bytes) -> ImagesCall:
    """Raises BadRequest, with the path of the field at fault."""
    typed, fields, _ = parse_body(body, _decode)
    return _call(typed, fields=fields, is_edit=False)


def parse_edit_json(body: bytes) -> ImagesCall:
    """The same, with pictures as `images: [{"image_url": "data:…"}]`: read into the form that every host takes."""
    typed, _, decoded = parse_body(body, _decode)
    if not typed.images or len(typed.images) > INPUT_IMAGES_MAX:
        raise invalid("images", f"de 1 a {INPUT_IMAGES_MAX} imagens", f"from 1 to {INPUT_IMAGES_MAX} images")
    files = [_read_image_url("image[]", reference, f"images[{place}]") for place, reference in enumerate(typed.images)]
    if typed.mask is not None:
        files.append(_read_image_url("mask", typed.mask, "mask"))
    texts = []
    for name, value in decoded.items():
        if name in ("images", "mask") or value is None:
            continue
        if not isinstance(value, str | bool | int | float):
            raise invalid(name, "um texto ou um número", "a text or a number")
        texts.append((name, value if isinstance(value, str) else json.dumps(value)))
    return _call(typed, fields={}, is_edit=True, form=Form(texts, files), input_images=len(files))


def parse_edit_form(form: Form) -> ImagesCall:
    """The same from a form, with the pictures in `image` or `image[]`, and `mask`."""
    typed = read_fields(form, ImagesBody)
    pictures = [file for file in form.files if file.field in ("image", "image[]")]
    if not 1 <= len(pictures) <= INPUT_IMAGES_MAX:
        raise invalid("image", f"de 1 a {INPUT_IMAGES_MAX} imagens", f"from 1 to {INPUT_IMAGES_MAX} images")
    for file in form.files:
        if file.field not in ("image", "image[]", "mask"):
            raise invalid(file.field, "um texto", "a text")
        check_file(file, most=FILE_BYTES_MAX)
        if kind_of_image(file.data) is None:
            raise invalid(file.field, "uma imagem PNG, JPEG ou WebP", "a PNG, JPEG or WebP image")
    return _call(typed, fields={}, is_edit=True, form=form, input_images=len(form.files))


def _call(
    typed: ImagesBody, *, fields: Mapping[str, Any], is_edit: bool, form: Form | None = None, input_images: int = 0
) -> ImagesCall:
    check_model(typed.model)
    if not typed.prompt or len(typed.prompt) > PROMPT_CHARACTERS_MAX:
        raise invalid(
            "prompt", f"um texto de até {PROMPT_CHARACTERS_MAX} caracteres", f"a text of up to {PROMPT_CHARACTERS_MAX} characters"
        )
    check_range("n", typed.n, 1, IMAGES_MAX)
    check_choice("quality", typed.quality, ("auto", *QUALITY_TOKENS))
    check_choice("output_format", typed.output_format, FORMATS)
    check_range("output_compression", typed.output_compression, 0, 100)
    check_choice("response_format", typed.response_format, ("url", "b64_json"))
    check_range("partial_images", typed.partial_images, 0, 3)
    size = typed.size or "auto"
    pixels_of(size)
    if typed.partial_images and not typed.stream:
        raise BadRequest(
            "'partial_images' só vale junto com 'stream': true.", "'partial_images' is only allowed when 'stream' is true.",
            param="partial_images",
        )  # fmt: skip
    return ImagesCall(
        model=typed.model, is_edit=is_edit, is_stream=bool(typed.stream), prompt=typed.prompt, n=typed.n or 1, size=size,
        quality=typed.quality or "auto", partial_images=typed.partial_images or 0, response_format=typed.response_format,
        style=typed.style, fields=fields, form=form, input_images=input_images, drops_unsupported=bool(typed.drop_params),
    )  # fmt: skip


def pixels_of(size: str) -> int:
    """Raises BadRequest for what is neither `auto` nor WIDTHxHEIGHT within reason."""
    if size == "auto":
        return AUTO_PIXELS
    found = _SIZE.fullmatch(size)
    width, height = (int(found.group(1)), int(found.group(2))) if found else (0, 0)
    if not 0 < width <= SIDE_MAX or not 0 < height <= SIDE_MAX:
        raise invalid("size", "'auto' ou LARGURAxALTURA, até 3840 de lado", "'auto' or WIDTHxHEIGHT, sides of up to 3840")
    return width * height


def image_tokens(quality: str, pixels: int) -> int:
    """Of one picture."""
    return -(-QUALITY_TOKENS.get(quality, QUALITY_TOKENS["high"]) * pixels // SQUARE_PIXELS)


def bound_of(call: ImagesCall, route: ServedRoute) -> Usage:
    """The most that it can use."""
    tokens = image_tokens(call.quality, max(pixels_of(call.size), SQUARE_PIXELS // 4))
    return Usage(
        input_tokens=scale(count_text(call.prompt), route.token_factor_percent) + HIDDEN_TOKENS,
        image_input_tokens=call.input_images * INPUT_IMAGE_TOKENS,
        output_tokens=call.n * TEXT_OUTPUT_TOKENS,
        image_output_tokens=call.n * (tokens + tokens // 10 + call.partial_images * PARTIAL_IMAGE_TOKENS + 64),
        images=call.n,
    )


def counted_of(call: ImagesCall) -> Usage:
    """What it uses where nobody says: whole pictures as asked for."""
    return Usage(
        input_tokens=count_text(call.prompt),
        image_output_tokens=call.n
        * (image_tokens(call.quality, pixels_of(call.size)) + call.partial_images * PARTIAL_IMAGE_TOKENS),
        images=call.n,
    )


def kind_of_image(data: memoryview) -> str | None:
    """png, jpeg or webp by its first bytes; None: another thing."""
    head = bytes(data[:12])
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    return "webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def _read_image_url(field: str, reference: ImageReference, path: str) -> File:
    """Only what is in the call itself: an address would be fetched on somebody's behalf, a file's id is of another account."""
    found = _DATA_URL.match(reference.image_url or "")
    try:
        data = memoryview(base64.b64decode((reference.image_url or "")[found.end() :], validate=True)) if found else memoryview(b"")
    except ValueError:
        data = memoryview(b"")
    kind = kind_of_image(data)
    if kind is None:
        raise invalid(
            f"{path}.image_url",
            "uma imagem PNG, JPEG ou WebP em data:image/…;base64",
            "a PNG, JPEG or WebP image as data:image/…;base64",
        )
    return File(field, data, kind, f"image/{kind}")
