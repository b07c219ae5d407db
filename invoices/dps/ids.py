"""The identifiers of the national standard: of a DPS, of an NFS-e (its access key), of a request to cancel. Pure.

- DPS Id, 45: `DPS` + city (7) + kind (1 CPF, 2 CNPJ) + tax id (14, a CPF padded with zeros) + series (5) + number (15).
- Access key, 50: city (7) + who made it (1 city, 2 nation) + kind (1) + tax id (14) + NFS-e number (13) + year and month (4) +
  random (9) + check digit. Modulus 11 over the 49, weights 2 to 9 from the right, a rest of 0 or 1 gives 0; a letter counts for
  `ord − 48`, as in a CNPJ. `infNFSe/@Id` is `NFS` + the key.
- Request, 59: `PRE` + key + kind of event (6). It has no sequence; the event that comes back has: `EVT` + key + kind + 3 digits.
"""

from __future__ import annotations

import re
from itertools import cycle

CANCEL_KIND = "101101"  # the issuer cancels
REPLACED_KIND = "105102"  # the tax office cancels since another note took its place

_ACCESS_KEY = re.compile(r"[0-9]{9}[0-9A-Z]{14}[0-9]{27}", re.ASCII)
_CNPJ = re.compile(r"[0-9A-Z]{12}[0-9]{2}", re.ASCII)
_CPF = re.compile(r"[0-9]{11}", re.ASCII)
_CITY = re.compile(r"[0-9]{7}", re.ASCII)
NUMBER_MAX = 10**15 - 1


def dps_id(*, city_code: str, tax_id: str, series: int, number: int) -> str:
    """`infDPS/@Id` (E0004). Raises ValueError for what can't be one."""
    if not _CITY.fullmatch(city_code):
        raise ValueError(f"Not a city code: {city_code!r}")
    if not 0 <= series <= 99_999 or not 1 <= number <= NUMBER_MAX:
        raise ValueError(f"Not a series and number: {series}, {number}")
    return f"DPS{city_code}{kind_and_tax_id(tax_id)}{series:05d}{number:015d}"


def kind_and_tax_id(tax_id: str) -> str:
    """The 15 characters of a federal registration: "2" and a CNPJ, "1" and a CPF behind three zeros. Raises ValueError."""
    if _CNPJ.fullmatch(tax_id):
        return f"2{tax_id}"
    if _CPF.fullmatch(tax_id):
        return f"1{tax_id:>014}"
    raise ValueError("Neither a bare CNPJ nor a bare CPF")


def check_digit(characters: str) -> str:
    """Of an access key's first 49 characters."""
    total = sum(
        (ord(character) - 48) * weight for character, weight in zip(reversed(characters), cycle(range(2, 10)), strict=False)
    )
    rest = total % 11
    return "0" if rest < 2 else str(11 - rest)


def check_access_key(key: str) -> str:
    """The key itself. Raises ValueError for a wrong shape or check digit."""
    if not _ACCESS_KEY.fullmatch(key):
        raise ValueError("An access key has 50 characters: digits, and letters only inside the CNPJ")
    if check_digit(key[:49]) != key[49]:
        raise ValueError("The check digit of the access key does not hold")
    return key


def cancel_id(access_key: str) -> str:
    """`infPedReg/@Id` of the issuer's request to cancel. Raises ValueError."""
    return f"PRE{check_access_key(access_key)}{CANCEL_KIND}"


def taxpayer_of(access_key: str) -> tuple[str, str]:
    """The city and the bare CNPJ or CPF inside a key: whose note it is (E0042). Raises ValueError."""
    check_access_key(access_key)
    tax_id = access_key[9:23]
    return access_key[:7], tax_id if access_key[8] == "2" else tax_id[3:]
