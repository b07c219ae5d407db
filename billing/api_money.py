"""How money travels in `/api/v1`: as `…_brl`, exact text in reais, and as `…_nanos`, an integer; in bodies as `…_brl` only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rest_framework import serializers

from billing.money import from_brl, to_brl
from tokia.errors import TokiaError

_FORM = r"^-?\d{1,10}(\.\d{1,9})?$"


class Brl(serializers.RegexField):  # type: ignore[misc]
    """ "10.00" in JSON, nanos here. Numbers are refused: their decimals are not what was written."""

    def __init__(self, **given: Any) -> None:
        given.setdefault("help_text", "Em reais, com ponto: `10.00`.")
        given.setdefault("error_messages", {"invalid": "Escreva o valor como texto, em reais, com ponto: 10.00."})
        super().__init__(_FORM, **given)

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, str) or not re.fullmatch(_FORM, data, re.ASCII):
            self.fail("invalid")
        return from_brl(data)

    def run_validators(self, value: int) -> None:
        """Those of the text, which was looked at above; here it is nanos already. OpenAPI reads its pattern from them."""

    def to_representation(self, value: int) -> str:
        return tell_brl(value)


class Nanos(serializers.IntegerField):  # type: ignore[misc]
    """The same amount as an integer."""

    def __init__(self, **given: Any) -> None:
        given.setdefault("help_text", "O mesmo valor em bilionésimos de real.")
        super().__init__(**given)


@contextmanager
def fields_in_brl() -> Iterator[None]:
    """A verb names an amount that it refuses "amount"; in a body it is "amount_brl"."""
    try:
        yield
    except TokiaError as error:
        if error.param is not None:
            error.param = f"{error.param}_brl"
        raise


def tell_brl(nanos: int) -> str:
    """Two to nine decimals: "10.00", "0.000012345"."""
    text = f"{to_brl(nanos):f}".rstrip("0")
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals:0<2}"


def both(name: str, nanos: int) -> dict[str, Any]:
    """An amount in an example."""
    return {f"{name}_brl": tell_brl(nanos), f"{name}_nanos": nanos}
