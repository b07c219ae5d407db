"""The 5 571 municipalities of Brazil with their IBGE codes (`cities.tsv`: code, state, name without accents). Pure."""

from __future__ import annotations

import difflib
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class City:
    code: str  # seven digits
    state: str
    name: str  # lower-case, without accents


@cache
def _cities() -> tuple[City, ...]:
    lines = (Path(__file__).parent / "cities.tsv").read_text(encoding="ascii").splitlines()
    return tuple(City(*line.split("\t")) for line in lines)


@cache
def _by_name() -> dict[tuple[str, str], City]:
    return {(city.state, _plain(city.name)): city for city in _cities()}


@cache
def _by_code() -> dict[str, City]:
    return {city.code: city for city in _cities()}


def _plain(name: str) -> str:
    """Letters and digits alone: accents, hyphens, apostrophes and blanks are written in many ways."""
    bare = unicodedata.normalize("NFD", name.lower())
    return "".join(char for char in bare if char.isalnum() and not unicodedata.combining(char))


def city_of(name: str, state: str) -> City | None:
    """The municipality of that name in a state ("SP"), however it is written; None where there is none."""
    return _by_name().get((state.strip().upper(), _plain(name)))


def city_by_code(code: str) -> City | None:
    return _by_code().get(code)


def nearest_city(name: str, state: str) -> City | None:
    """The municipality of that state whose name is written most like this one; None where nothing comes close."""
    plain = _plain(name)
    here = {_plain(city.name): city for city in _cities() if city.state == state.strip().upper()}
    for found in difflib.get_close_matches(plain, here, n=1, cutoff=0.75):
        return here[found]
    return None


def tell_city(city: City) -> str:
    """`Rio de Janeiro`; without accents, as the list has it."""
    small = {"da", "das", "de", "do", "dos", "e"}
    words = [word if word in small else word.capitalize() for word in city.name.split()]
    return " ".join(words)
