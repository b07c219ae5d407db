"""What an experiment's numbers allow to say, in plain words. Pure: each side is compared with the first one, figure by figure.

Asked for is 1 % of chance, shared among the comparisons (Bonferroni): people look every day, and stop at the first result that
they like. Below MEASURED_MIN calls on either side nothing is said. Calls are taken as independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.utils.formats import get_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

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


class _Mean(NamedTuple):
    figure: Promise
    sample_of: Callable[[ArmResult], Sample]
    less: Promise
    more: Promise


_MEANS = (
    _Mean(
        gettext_lazy("Custo"), lambda arm: arm.cost,
        gettext_lazy("{other} custa {percent} menos por chamada que {base}; a diferença é maior que o acaso explicaria."),
        gettext_lazy("{other} custa {percent} mais por chamada que {base}; a diferença é maior que o acaso explicaria."),
    ),
    _Mean(
        gettext_lazy("1º token"), lambda arm: arm.first_token,
        gettext_lazy("{other} começa a responder {percent} antes que {base}; a diferença é maior que o acaso explicaria."),
        gettext_lazy("{other} demora {percent} mais para começar que {base}; a diferença é maior que o acaso explicaria."),
    ),
    _Mean(
        gettext_lazy("Duração"), lambda arm: arm.latency,
        gettext_lazy("{other} termina em {percent} menos tempo que {base}; a diferença é maior que o acaso explicaria."),
        gettext_lazy("{other} leva {percent} mais tempo que {base}; a diferença é maior que o acaso explicaria."),
    ),
)  # fmt: skip


def verdicts(arms: Sequence[ArmResult]) -> list[Verdict]:
    """In the sides' own order; none where nobody was called yet."""
    if len(arms) < 2 or not any(arm.calls for arm in arms):
        return []
    alpha = ALPHA / (len(arms) - 1)
    return [verdict for other in arms[1:] for verdict in _compare(arms[0], other, alpha)]


def _compare(base: ArmResult, other: ArmResult, alpha: float) -> Iterator[Verdict]:
    for mean in _MEANS:
        one, two = mean.sample_of(base), mean.sample_of(other)
        if one.n or two.n:  # nobody streams: no word on first tokens
            yield _judge_means(mean, base.label, other.label, one, two, alpha=alpha)
    yield _judge_errors(base, other, alpha)
    if base.feedback.n or other.feedback.n:
        yield _judge_feedback(base, other, alpha)


def _judge_means(mean: _Mean, base: str, other: str, one: Sample, two: Sample, *, alpha: float) -> Verdict:
    figure, fewest = str(mean.figure), min(one.n, two.n)
    if fewest < MEASURED_MIN:
        return Verdict(figure, "early", _too_few(base, other, fewest, MEASURED_MIN, _("chamadas medidas")))
    if p_of_means(one, two) >= alpha:
        return Verdict(figure, "same", _("{other} e {base}: a diferença cabe no acaso.").format(other=other, base=base))
    if one.mean <= 0:  # a free model: nothing is so many percent dearer than it
        return Verdict(figure, "worse", _("{other} custa por chamada, {base} não.").format(other=other, base=base))
    change = two.mean / one.mean - 1
    kind, text = ("better", mean.less) if change < 0 else ("worse", mean.more)
    return Verdict(figure, kind, str(text).format(other=other, base=base, percent=_percent(abs(change))))


def _judge_errors(base: ArmResult, other: ArmResult, alpha: float) -> Verdict:
    one, two, figure = base.errors, other.errors, _("Erros")
    if min(one.n, two.n) < RATED_MIN:
        return Verdict(figure, "early", _too_few(base.label, other.label, min(one.n, two.n), RATED_MIN, _("chamadas")))
    between = _("{other} erra {its}, {base} {theirs}").format(
        other=other.label, its=_interval(two), base=base.label, theirs=_interval(one)
    )
    if not is_countable(one, two):
        return Verdict(figure, "early", _("{between}: poucos erros para dizer quem erra menos.").format(between=between))
    if p_of_rates(one, two) >= alpha:
        return Verdict(figure, "same", _("{between}: a diferença cabe no acaso.").format(between=between))
    if two.share < one.share:
        kind, text = "better", _("{other} erra menos que {base}, mais do que o acaso explicaria: {between}.")
    else:
        kind, text = "worse", _("{other} erra mais que {base}, mais do que o acaso explicaria: {between}.")
    return Verdict(figure, kind, text.format(other=other.label, base=base.label, between=between))


def _judge_feedback(base: ArmResult, other: ArmResult, alpha: float) -> Verdict:
    one, two, figure = base.feedback, other.feedback, _("Avaliações")
    fewest = min(one.n, two.n)
    if fewest < RATED_MIN:
        return Verdict(figure, "early", _too_few(base.label, other.label, fewest, RATED_MIN, _("avaliações")))
    between = _("{other} agrada {its}, {base} {theirs}").format(
        other=other.label, its=_interval(two), base=base.label, theirs=_interval(one)
    )
    if not is_countable(one, two):
        text = _("{between}: poucas avaliações contrárias para dizer quem agrada mais.")
        return Verdict(figure, "early", text.format(between=between))
    if p_of_rates(one, two) >= alpha:
        return Verdict(figure, "same", _("{between}: a diferença cabe no acaso.").format(between=between))
    if two.share > one.share:
        kind, text = "better", _("{other} agrada mais que {base}, além do que o acaso explicaria: {between}.")
    else:
        kind, text = "worse", _("{other} agrada menos que {base}, além do que o acaso explicaria: {between}.")
    return Verdict(figure, kind, text.format(other=other.label, base=base.label, between=between))


def _too_few(base: str, other: str, found: int, needed: int, what: str) -> str:
    told = _("{other} e {base}: ainda não dá para dizer, poucas {what} ({found} de pelo menos {needed} em cada lado).")
    return told.format(other=other, base=base, what=what, found=found, needed=needed)


def _interval(rate: Rate) -> str:
    """Where the true share lies: `entre 1,2% e 4,5%`."""
    low, high = wilson(rate)
    return _("entre {low} e {high}").format(low=_percent(low), high=_percent(high))


def _percent(share: float) -> str:
    """One decimal under ten percent, none above: `3,4%`, `38%`; with the separator of the language that is read."""
    value = share * 100
    text = f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
    return text.removesuffix(".0").replace(".", str(get_format("DECIMAL_SEPARATOR"))) + "%"
