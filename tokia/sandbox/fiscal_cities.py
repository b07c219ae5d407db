"""What the national system knows of cities: made-up but stable agreements ("convênios") of real ones, with real codes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

from tokia.sandbox.asgi import Json


@dataclass(frozen=True, slots=True)
class City:
    """One city's agreement and parameters."""

    code: str  # IBGE, seven digits
    name: str
    state: str
    iss_percent: str  # of every service that it administers
    in_environment: bool = True  # shares its notes with the national environment
    uses_emitter: bool = True  # its taxpayers issue at the national emitter
    is_active: bool = True  # False: E0038
    im: str = "any"  # the taxpayer's registration in its CNC: "required" (E0116), "refused" (E0120), "any"
    is_established: bool = True  # False: the issuer has no establishment there (E0084)
    cancel_days: int | None = None  # after so many days e101101 is refused; None: never
    replace_days: int | None = None  # after so many days a note can't be replaced (E0050)


_CITIES = (
    City("3106200", "Belo Horizonte", "MG", "3.00", im="required"),
    City("3550308", "São Paulo", "SP", "2.90", uses_emitter=False),  # keeps its own "Nota do Milhão"
    City("4314902", "Porto Alegre", "RS", "2.50", im="refused"),
    City("3304557", "Rio de Janeiro", "RJ", "5.00"),
    City("4106902", "Curitiba", "PR", "4.00", uses_emitter=False),
    City("4205407", "Florianópolis", "SC", "2.00"),
    City("2611606", "Recife", "PE", "5.00", uses_emitter=False),
    City("3509502", "Campinas", "SP", "2.00", uses_emitter=False),
    City("5300108", "Brasília", "DF", "2.00"),
    City("2927408", "Salvador", "BA", "3.00"),
    City("2304400", "Fortaleza", "CE", "3.00", is_active=False),
    City("1302603", "Manaus", "AM", "5.00", in_environment=False, uses_emitter=False),
)
CITIES = {city.code: city for city in _CITIES}
NAMES = {field.name for field in fields(City)} - {"code"}


def amend(city: City, changes: dict[str, Json]) -> City:
    """A city with some of its facts changed. Raises ValueError for a fact that there is not."""
    unknown = set(changes) - NAMES
    if unknown:
        raise ValueError(f"{', '.join(sorted(NAMES))}; not {sorted(unknown)}")
    if changes.get("im", "any") not in ("required", "refused", "any"):
        raise ValueError("im: required, refused, any")
    return replace(city, **changes)


def describe(city: City) -> dict[str, Json]:
    return asdict(city)
