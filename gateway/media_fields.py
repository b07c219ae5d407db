"""Fields of a call that may come as JSON or as a form: the same types, the same refusals. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from gateway.errors import BadRequest, BodyTooLarge
from gateway.multipart import File, Form
from gateway.parsing import FORBIDDEN_FIELDS, MODEL_NAME_MAX, invalid, wrong_type

T = TypeVar("T")


def read_fields(form: Form, kind: type[T]) -> T:
    """The typed fields of a form: numbers and booleans are written as texts there. Raises BadRequest."""
    given: dict[str, Any] = {}
    for name, value in form.texts:
        if name.partition("[")[0] in FORBIDDEN_FIELDS:
            raise BadRequest(
                f"O campo '{name}' não é aceito.", f"The field '{name}' is not accepted.", param=name, code="unsupported_parameter"
            )
        if not name.endswith("]"):
            given[name] = _boolean(value)
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise wrong_type(str(error)) from None


def _boolean(value: str) -> str:
    """Python's SDK writes true, some others True."""
    return value.lower() if value in ("True", "False") else value


def check_model(model: str) -> None:
    """Raises BadRequest."""
    if not model or len(model) > MODEL_NAME_MAX:
        raise invalid("model", "o nome de um modelo", "a model's name")


def check_choice(name: str, value: str | None, choices: tuple[str, ...]) -> None:
    """Raises BadRequest."""
    if value is not None and value not in choices:
        raise invalid(name, f"um destes: {', '.join(choices)}", f"one of: {', '.join(choices)}")


def check_range(name: str, value: float | None, least: float, most: float) -> None:
    """Raises BadRequest."""
    if value is not None and not least <= value <= most:
        raise invalid(name, f"um número de {least} a {most}", f"a number from {least} to {most}")


def check_file(file: File, *, most: int) -> None:
    """Raises BadRequest, BodyTooLarge."""
    if not len(file.data):
        raise invalid(file.field, "um arquivo que não esteja vazio", "a file that is not empty")
    if len(file.data) > most:
        raise BodyTooLarge(
            f"O arquivo passa do limite de {most // 1_048_576} MiB.", f"The file exceeds the limit of {most // 1_048_576} MiB.",
            param=file.field,
        )  # fmt: skip


def unsupported(param: str) -> BadRequest:
    return BadRequest(
        f"Este modelo não aceita '{param}'. Tire-o, ou envie \"drop_params\": true para que ele seja ignorado.",
        f"This model does not support '{param}'. Remove it, or send \"drop_params\": true to have it ignored.",
        param=param,
        code="unsupported_parameter",
    )


def drop(param: str, dropped: list[str], *, drops_unsupported: bool) -> None:
    """`param` changes what is asked for and can't be said. Raises BadRequest unless the caller wants it left out."""
    if not drops_unsupported:
        raise unsupported(param)
    dropped.append(param)


def is_set(fields: Mapping[str, msgspec.Raw], name: str) -> bool:
    return name in fields and bytes(fields[name]) != b"null"
