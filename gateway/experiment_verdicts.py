"""What an experiment's numbers allow to say, in plain words. Pure: each side is compared with the first one, figure by figure.

Asked for is 1 % of chance, shared among the comparisons (Bonferroni): people look every day, and stop at the first result that
they like. Below MEASURED_MIN calls on either side nothing is said. Calls are taken as independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway.experiment_results import ArmResult
from gateway.significance import Rate, Sample, is_countable, p_of_means, p_of_rates, wilson

ALPHA = 0.01
MEASURED_MIN = 50  # calls on each side, before a mean says anything
RATED_MIN = 30  # the same of calls asked, or of feedback given


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence. `kind`: "better", "worse" (of the side compared with the first), "same", "early"."""

    figure: str
    kind: str
    text: str


_MEANS: tuple[tuple[str, Callable[[ArmResult], Sample], str, str], ...] = (
    ("Custo", lambda arm: arm.cost, "custa {percent} menos por chamada", "custa {percent} mais por chamada"),
    ("1º token", lambda arm: arm.first_token, "começa a responder {percent} antes", "demora {percent} mais para começar"),
    ("Duração", lambda arm: arm.latency, "termina em {percent} menos tempo", "leva {percent} mais tempo"),
)


def verdicts(arms: Sequence[ArmResult]) -> list[Verdict]:
    """In the sides' own order; none where nobody was called yet."""
    if len(arms) < 2 or not any(arm.calls for arm in arms):
        return []
    alpha = ALPHA / (len(arms) - 1)
    return [verdict for other in arms[1:] for verdict in _compare(arms[0], other, alpha)]


def _compare(base: ArmResult, other: ArmResult, alpha: float) -> Iterator[Verdict]:
    for figure, sample_of, less, more in _MEANS:
        one, two = sample_of(base), sample_of(other)
        if one.n or two.n:  # nobody streams: no word on first tokens
            yield _judge_means(figure, base.label, other.label, one, two, alpha=alpha, less=less, more=more)
    yield _judge_errors(base, other, alpha)
    if base.feedback.n or other.feedback.n:
        yield _judge_feedback(base, other, alpha)


def _judge_means(figure: str, base: str, other: str, one: Sample, two: Sample, *, alpha: float, less: str, more: str) -> Verdict:
    fewest = min(one.n, two.n)
    if fewest < MEASURED_MIN:
        return Verdict(figure, "early", _too_few(base, other, fewest, MEASURED_MIN, "chamadas medidas"))
    if p_of_means(one, two) >= alpha:
        return Verdict(figure, "same", f"{other} e {base}: a diferença cabe no acaso.")
    if one.mean <= 0:  # a free model: nothing is so many percent dearer than it
        return Verdict(figure, "worse", f"{other} custa por chamada, {base} não.")
    change = two.mean / one.mean - 1
    text = (less if change < 0 else more).format(percent=_percent(abs(change)))
    kind = "better" if change < 0 else "worse"
    return Verdict(figure, kind, f"{other} {text} que {base}; a diferença é maior que o acaso explicaria.")


def _judge_errors(base: ArmResult, other: ArmResult, alpha: float) -> Verdict:
    one, two, figure = base.errors, other.errors, "Erros"
    if min(one.n, two.n) < RATED_MIN:
        return Verdict(figure, "early", _too_few(base.label, other.label, min(one.n, two.n), RATED_MIN, "chamadas"))
    between = f"{other.label} erra {_interval(two)}, {base.label} {_interval(one)}"
    if not is_countable(one, two):
        return Verdict(figure, "early", f"{between}: poucos erros para dizer quem erra menos.")
    if p_of_rates(one, two) >= alpha:
        return Verdict(figure, "same", f"{between}: a diferença cabe no acaso.")
    kind, word = ("better", "menos") if two.share < one.share else ("worse", "mais")
    return Verdict(figure, kind, f"{other.label} erra {word} que {base.label}, mais do que o acaso explicaria: {between}.")


def _judge_feedback(base: ArmResult, other: ArmResult, alpha: float) -> Verdict:
    one, two, figure = base.feedback, other.feedback, "Avaliações"
    fewest = min(one.n, two.n)
    if fewest < RATED_MIN:
        return Verdict(figure, "early", _too_few(base.label, other.label, fewest, RATED_MIN, "avaliações"))
    between = f"{other.label} agrada {_interval(two)}, {base.label} {_interval(one)}"
    if not is_countable(one, two):
        return Verdict(figure, "early", f"{between}: poucas avaliações contrárias para dizer quem agrada mais.")
    if p_of_rates(one, two) >= alpha:
        return Verdict(figure, "same", f"{between}: a diferença cabe no acaso.")
    kind, word = ("better", "mais") if two.share > one.share else ("worse", "menos")
    return Verdict(figure, kind, f"{other.label} agrada {word} que {base.label}, além do que o acaso explicaria: {between}.")


def _too_few(base: str, other: str, found: int, needed: int, what: str) -> str:
    return f"{other} e {base}: ainda não dá para dizer, poucas {what} ({found} de pelo menos {needed} em cada lado)."


def _interval(rate: Rate) -> str:
    """Where the true share lies: `entre 1,2% e 4,5%`."""
    low, high = wilson(rate)
    return f"entre {_percent(low)} e {_percent(high)}"


def _percent(share: float) -> str:
    """One decimal under ten percent, none above: `3,4%`, `38%`."""
    value = share * 100
    text = f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
    return text.removesuffix(".0").replace(".", ",") + "%"
