"""CNPJ (the alphanumeric form included, in force since July 2026) and CPF: bare form, check digits. Pure."""

from __future__ import annotations

import re

from stdnum.br import cnpj as _cnpj
from stdnum.br import cpf as _cpf
from stdnum.exceptions import ValidationError

from accounts.errors import InvalidTaxId

_CNPJ = re.compile(r"[0-9A-Z]{12}[0-9]{2}", re.ASCII)
_CPF = re.compile(r"[0-9]{11}", re.ASCII)


def parse_cnpj(text: str) -> str:
    """The 14 bare characters, upper-case. Raises InvalidTaxId. A repeated character (000…) satisfies the digits but is nobody."""
    bare = re.sub(r"[\s./-]", "", text).upper()
    if not _CNPJ.fullmatch(bare) or len(set(bare)) == 1 or not _holds(_cnpj, bare):
        raise InvalidTaxId("CNPJ inválido. Confira os 14 caracteres.", param="tax_id")
    return bare


def parse_cpf(text: str) -> str:
    """The 11 bare digits. Raises InvalidTaxId."""
    bare = re.sub(r"[\s.-]", "", text)
    if not _CPF.fullmatch(bare) or len(set(bare)) == 1 or not _holds(_cpf, bare):
        raise InvalidTaxId("CPF inválido. Confira os 11 números.", param="tax_id")
    return bare


def _holds(standard: object, bare: str) -> bool:
    try:
        standard.validate(bare)  # type: ignore[attr-defined]
    except ValidationError:
        return False
    return True


def format_tax_id(value: str) -> str:
    """`12.ABC.345/01DE-35` or `111.444.777-35` from the bare form; anything else as it is."""
    if len(value) == 14:
        return f"{value[:2]}.{value[2:5]}.{value[5:8]}/{value[8:12]}-{value[12:]}"
    if len(value) == 11:
        return f"{value[:3]}.{value[3:6]}.{value[6:9]}-{value[9:]}"
    return value
