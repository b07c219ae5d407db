"""The builder's own decisions: instants, texts, amounts, what is left out. What it says by regime is in the corpus."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from invoices.dps.build import CENTAVOS_MAX, SAO_PAULO, build_cancel, build_dps, clean_reason, share_of
from invoices.dps.document import Dps, Replaced, Taker
from invoices.dps.markup import NS
from invoices.dps.rules import check_rules
from invoices.dps.schema import check_schema
from invoices.dps.text import clean_text
from invoices.errors import Incomplete
from tests.invoices.dps.cases import BASE, LETTERS, NUMERIC, PERSON, REGIMES, REPLACED_KEY


def _told(dps: Dps, name: str) -> str | None:
    return etree.fromstring(build_dps(dps)).findtext(f".//{{{NS}}}{name}")  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "issued_at, competence_on, told",
    [
        # A minute ago, in Brazil, without a fraction.
        ("2026-12-01 09:35:00.999", "2026-11-30", "2026-12-01T09:34:00-03:00"),
        ("2026-12-01 00:00:30", "2026-11-30", "2026-11-30T23:59:30-03:00"),
        # Just after midnight of the competence: not yesterday (E0015), and not ahead (E0008).
        ("2026-12-01 00:00:30", "2026-12-01", "2026-12-01T00:00:00-03:00"),
        ("2026-12-01 00:00:00", "2026-12-01", "2026-12-01T00:00:00-03:00"),
        ("2026-12-01 00:01:00", "2026-12-01", "2026-12-01T00:00:00-03:00"),
        # A competence of tomorrow is not helped: the rules refuse it.
        ("2026-12-01 12:00:00", "2026-12-02", "2026-12-01T11:59:00-03:00"),
    ],
)
def test_it_tells_when_it_was_issued(issued_at: str, competence_on: str, told: str) -> None:
    instant = dt.datetime.fromisoformat(issued_at).replace(tzinfo=SAO_PAULO).astimezone(dt.UTC)
    dps = replace(BASE, issued_at=instant, competence_on=dt.date.fromisoformat(competence_on))
    assert _told(dps, "dhEmi") == told


@pytest.mark.parametrize(
    "text, cleaned",
    [
        ("Ação", "Ação"),
        ("Ac\u0327a\u0303o", "Ação"),  # decomposed, as macOS writes it
        ("\U0001f680 foguete \U0001f680", "foguete"),
        ("um\ttab\r\ne\u00a0linha", "um tab e linha"),
        ("\x00\x07\x1b[31mcor\x7f\x85", "[31mcor"),
        ("“aspas” — ‘simples’…", "\"aspas\" - 'simples'..."),
        ("株式会社", ""),
        ("Łukasz Őrs \ufb01m ½", "Lukasz Ors fim ½"),
        ("\u202edireita\u200b", "direita"),
        ("a" * 30, "a" * 24),
        ("a" * 23 + " b", "a" * 23),
        ("&<>\"'", "&<>\"'"),
    ],
)
def test_it_keeps_of_a_text_what_the_standard_takes(text: str, cleaned: str) -> None:
    assert clean_text(text, length_max=24) == cleaned


@pytest.mark.parametrize(
    "centavos, told",
    [
        (1, "0.01"),
        (99, "0.99"),
        (100, "1.00"),
        (10_001, "100.01"),
        (CENTAVOS_MAX, "999999999999999.99"),
        (2**53 + 1, "90071992547409.93"),
    ],
)
def test_it_writes_amounts_to_the_centavo(centavos: int, told: str) -> None:
    dps = replace(BASE, amount_centavos=centavos)
    assert _told(dps, "vServ") == told and check_schema(build_dps(dps), "DPS") == []


@pytest.mark.parametrize(
    "amount, bps, share", [(100, 65, 1), (77, 65, 1), (76, 65, 0), (10_000, 300, 300), (1, 5_000, 1), (3, 5_000, 2), (0, 300, 0)]
)
def test_it_rounds_a_share_half_up(amount: int, bps: int, share: int) -> None:
    assert share_of(amount, bps=bps) == share


@pytest.mark.parametrize("amount", [0, -1, CENTAVOS_MAX + 1])
def test_it_refuses_an_amount_that_is_none(amount: int) -> None:
    with pytest.raises(Incomplete) as refusal:
        build_dps(replace(BASE, amount_centavos=amount))
    assert refusal.value.param == "invoice.amount_centavos"


@pytest.mark.parametrize(
    "email, is_told",
    [
        ("fiscal@cliente.com.br", True), ("", False), ("fiscal", False), ("fiscal@cliente", False), ("a b@c.com", False),
        ("ação@日本.jp", False), (f"{'a' * 75}@b.com", False),
    ],
)  # fmt: skip
def test_it_leaves_out_a_mail_address_that_would_be_refused(email: str, is_told: bool) -> None:
    assert (_told(replace(BASE, taker=replace(NUMERIC, email=email)), "email") == email) is is_told


@pytest.mark.parametrize("field", ["name", "street", "number", "district"])
def test_it_names_the_text_of_which_nothing_remains(field: str) -> None:
    with pytest.raises(Incomplete) as refusal:
        build_dps(replace(BASE, taker=replace(NUMERIC, **{field: "株式会社 \U0001f600"})))
    assert (refusal.value.problem_code, refusal.value.param) == ("TAKER", f"taker.{field}")


def test_it_names_the_description_and_the_taxpayers() -> None:
    for dps, field in (
        (replace(BASE, description="\U0001f600"), "terms.description"),
        (replace(BASE, taker=replace(PERSON, tax_id="5299822472")), "taker.tax_id"),
        (replace(BASE, prestador=replace(BASE.prestador, city_code="1")), "issuer.city_code"),
    ):
        with pytest.raises(Incomplete) as refusal:
            build_dps(dps)
        assert refusal.value.param == field


def test_it_cuts_what_is_too_long_at_the_layouts_bounds() -> None:
    taker = replace(NUMERIC, name="N" * 400, street="R" * 300, number="1" * 80, complement="C" * 200, district="B" * 80)
    dps = replace(BASE, taker=taker, description="D" * 3_000, purchase_number="P" * 90, remarks="I" * 3_000)
    lengths = {
        name: len(_told(dps, name) or "") for name in ("xNome", "xLgr", "nro", "xCpl", "xBairro", "xDescServ", "xPed", "xInfComp")
    }
    assert lengths == {
        "xNome": 150,
        "xLgr": 255,
        "nro": 60,
        "xCpl": 156,
        "xBairro": 60,
        "xDescServ": 1000,
        "xPed": 60,
        "xInfComp": 2000,
    }
    assert check_schema(build_dps(dps), "DPS") == []


def test_it_asks_for_a_reason_of_fifteen_characters() -> None:
    assert clean_reason("  Recarga  devolvida \U0001f4b8 ") == "Recarga devolvida"
    for reason in ("", "curto", "\U0001f4b8" * 20, "quatorze letr"):
        with pytest.raises(Incomplete):
            build_cancel(
                access_key=REPLACED_KEY, tax_id="11222333000181", environment="2", code="1", reason=reason, at=BASE.issued_at
            )
    with pytest.raises(ValueError):
        build_cancel(access_key="1" * 50, tax_id="11222333000181", environment="2", code="1", reason="a" * 15, at=BASE.issued_at)


def test_it_lets_a_person_ask_to_cancel_too() -> None:
    xml = build_cancel(
        access_key=REPLACED_KEY, tax_id="52998224725", environment="1", code="9", reason="a" * 300, at=BASE.issued_at
    )
    assert b"<CPFAutor>52998224725" in xml and check_schema(xml, "pedRegEvento") == []


TEXTS = st.text(min_size=1, max_size=80) | st.just("Texto comum de quinze letras") | st.text(max_size=3)
WITHHELD = st.just((False, 0, 0, False)) | st.tuples(st.booleans(), st.integers(-5, 10**6), st.integers(-5, 10**6), st.booleans())
SETTINGS = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@SETTINGS
@given(
    name=TEXTS, street=TEXTS, number=TEXTS, complement=TEXTS, district=TEXTS, email=TEXTS, description=st.text(max_size=1_200),
    purchase_number=TEXTS, remarks=TEXTS, reason=TEXTS, amount=st.integers(1, 10**12) | st.integers(-5, 10**19),
    regime=st.sampled_from(sorted(REGIMES)), kind=st.sampled_from([NUMERIC, LETTERS, PERSON]), is_replacement=st.booleans(),
    withheld=WITHHELD,
)  # fmt: skip
def test_it_builds_a_valid_document_of_anything_or_names_what_is_wrong(
    name: str, street: str, number: str, complement: str, district: str, email: str, description: str, purchase_number: str,
    remarks: str, reason: str, amount: int, regime: str, kind: Taker, is_replacement: bool, withheld: tuple[bool, int, int, bool],
) -> None:  # fmt: skip
    """Where the rules see nothing wrong, the document is built and holds against the schema."""
    texts = {"name": name, "street": street, "number": number, "complement": complement, "district": district, "email": email}
    replaced = Replaced(access_key=REPLACED_KEY, code="99", reason=reason) if is_replacement else None
    dps = replace(
        BASE, taker=replace(kind, **texts), terms=REGIMES[regime], description=description, purchase_number=purchase_number,
        remarks=remarks, amount_centavos=amount, iss_withheld=withheld[0], irrf_centavos=withheld[1], csll_centavos=withheld[2],
        pis_cofins_withheld=withheld[3], replaces=replaced,
    )  # fmt: skip
    problems = check_rules(dps)
    assert all(problem.code and "." in problem.field and problem.text_pt.endswith(".") for problem in problems)
    if not problems:
        assert check_schema(build_dps(dps), "DPS") == []


@SETTINGS
@given(text=st.text(max_size=300), length=st.integers(min_value=1, max_value=60))
def test_it_never_lets_an_unfit_character_through(text: str, length: int) -> None:
    cleaned = clean_text(text, length_max=length)
    assert len(cleaned) <= length and cleaned == cleaned.strip() and "  " not in cleaned
    assert all(" " <= character <= "~" or "\xa1" <= character <= "\xff" for character in cleaned)
    assert clean_text(cleaned, length_max=length) == cleaned
