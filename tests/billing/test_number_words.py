"""Amounts in words, as Portuguese writes them."""

from __future__ import annotations

import pytest

from billing.number_words import CENTAVOS_MAX, spell, spell_brl


@pytest.mark.parametrize(
    ("centavos", "words"),
    [
        (0, "zero real"),
        (1, "um centavo"),
        (99, "noventa e nove centavos"),
        (100, "um real"),
        (101, "um real e um centavo"),
        (200, "dois reais"),
        (1_500, "quinze reais"),
        (10_000, "cem reais"),
        (10_100, "cento e um reais"),
        (50_000, "quinhentos reais"),
        (99_999, "novecentos e noventa e nove reais e noventa e nove centavos"),
        (100_000, "mil reais"),
        (100_100, "mil e um reais"),
        (110_000, "mil e cem reais"),
        (123_456, "mil duzentos e trinta e quatro reais e cinquenta e seis centavos"),
        (200_000, "dois mil reais"),
        (210_050, "dois mil e cem reais e cinquenta centavos"),
        (2_100_000, "vinte e um mil reais"),
        (10_000_000, "cem mil reais"),
        (12_345_678, "cento e vinte e três mil quatrocentos e cinquenta e seis reais e setenta e oito centavos"),
        (100_000_000, "um milhão de reais"),
        (100_000_100, "um milhão e um reais"),
        (200_000_000, "dois milhões de reais"),
        (100_100_000, "um milhão e mil reais"),
        (123_456_789, "um milhão duzentos e trinta e quatro mil quinhentos e sessenta e sete reais e oitenta e nove centavos"),
        (
            CENTAVOS_MAX,
            "novecentos e noventa e nove milhões novecentos e noventa e nove mil novecentos e noventa e nove reais"
            " e noventa e nove centavos",
        ),
    ],
)
def test_it_spells_reais(centavos: int, words: str) -> None:
    assert spell_brl(centavos) == words


def test_it_spells_every_number_differently() -> None:
    numbers = [*range(2_200), *range(99_000, 101_200), *range(999_000, 1_002_000), *range(1_000_000, 30_000_000, 99_991)]
    words = {spell(number) for number in set(numbers)}
    assert len(words) == len(set(numbers))
    assert not any("  " in text or text.endswith(" ") for text in words)


@pytest.mark.parametrize("centavos", [-1, CENTAVOS_MAX + 1])
def test_it_refuses_what_has_no_words(centavos: int) -> None:
    with pytest.raises(ValueError, match="no words"):
        spell_brl(centavos)
