"""What may be changed of an issuer, its taxes, its policies and its numbers. A check says what is wrong, by field, in Portuguese.

The rules of the national annex I that a row alone can break are refused here, before a document is made of it (E-codes below).
"""

from __future__ import annotations

import datetime as dt

from django.db import transaction

from accounts.cities import city_by_code
from accounts.errors import InvalidTaxId
from accounts.tax_ids import parse_cnpj
from invoices.errors import NotNow
from invoices.models import DpsSeries, Invoice, InvoicePolicy, Issuer, TaxTerms
from invoices.numbering import NUMBER_MAX
from tokia import clock

ISS_BPS_MAX = 500  # E0595; law 116, article 8, II
# Field → (its length, what it is). Digits alone.
CODES = {
    "service_code": (6, "O código de tributação nacional"),
    "city_service_code": (3, "O código de tributação municipal"),
    "nbs_code": (9, "O NBS"),
    "operation_code": (6, "O cIndOp"),
    "tax_situation": (3, "O CST do IBS/CBS"),
    "tax_class": (6, "O cClassTrib"),
    "pis_cofins_situation": (2, "O CST do PIS/COFINS"),
    "special_regime": (1, "O regime especial"),
}
MAY_BE_EMPTY = {"city_service_code", "pis_cofins_situation"}
RATES = ("iss_bps", "pis_bps", "cofins_bps", "federal_bps", "state_bps", "city_bps", "simples_bps")


def check_issuer(issuer: Issuer) -> dict[str, str]:
    """What stands against saving it so. Once it has invoices its CNPJ is theirs: ids and keys are made of it."""
    wrong = {}
    try:
        issuer.tax_id = parse_cnpj(issuer.tax_id)
    except InvalidTaxId as error:
        wrong["tax_id"] = error.message
    if city_by_code(issuer.city_code) is None:
        wrong["city_code"] = "Não há município com este código do IBGE."
    if issuer.sends_municipal_registration and not issuer.municipal_registration:
        wrong["municipal_registration"] = "Para informar a inscrição municipal é preciso tê-la aqui."
    before = Issuer.objects.filter(pk=issuer.pk).first() if issuer.pk else None
    if before is None:
        return wrong
    if "tax_id" not in wrong and before.tax_id != issuer.tax_id and Invoice.everywhere.filter(issuer=issuer).exists():
        wrong["tax_id"] = "Já há notas deste emitente: o CNPJ faz parte delas. Cadastre outro emitente e torne-o ativo."
    moved = (before.city_code, before.environment, before.channel) != (issuer.city_code, issuer.environment, issuer.channel)
    underway = (
        Invoice.everywhere.filter(issuer=issuer, status__in=(*_UNDERWAY, Invoice.Status.CANCEL_PENDING)).count() if moved else 0
    )
    if underway:
        field = next(name for name in ("city_code", "environment", "channel") if getattr(before, name) != getattr(issuer, name))
        wrong[field] = f"Há {underway} nota(s) a caminho do órgão fiscal. Espere que terminem e tente de novo."
    return wrong


_UNDERWAY = (Invoice.Status.SIGNED, Invoice.Status.SENDING, Invoice.Status.UNCERTAIN)


@transaction.atomic
def activate(issuer: Issuer) -> None:
    """New invoices are this issuer's from now on; those of the one before stay its own. Raises NotNow where it is active."""
    rows = {row.pk: row for row in Issuer.objects.select_for_update().order_by("pk")}
    if rows[issuer.pk].is_active:
        raise NotNow("Este emitente já é o ativo.")
    Issuer.objects.filter(is_active=True).update(is_active=False)
    Issuer.objects.filter(pk=issuer.pk).update(is_active=True)


def is_used(terms: TaxTerms) -> bool:
    return bool(terms.pk) and Invoice.everywhere.filter(terms_id=terms.pk).exists()


def check_terms(terms: TaxTerms) -> dict[str, str]:
    """What stands against these taxes."""
    wrong = {}
    for name, (length, what) in CODES.items():
        value = getattr(terms, name)
        if not value and name in MAY_BE_EMPTY:
            continue
        if not (len(value) == length and value.isascii() and value.isdigit()):
            wrong[name] = f"{what} tem {length} {'número' if length == 1 else 'números'}."
    if not wrong.keys() & {"tax_situation", "tax_class"} and not terms.tax_class.startswith(terms.tax_situation):
        wrong["tax_class"] = f"O cClassTrib começa pelo CST ({terms.tax_situation}). (E0959)"
    is_simples = terms.regime == TaxTerms.Regime.SIMPLES
    if is_simples and not terms.simples_assessment:
        wrong["simples_assessment"] = "ME/EPP do Simples diz como apura os tributos. (E0166)"
    if not is_simples and terms.simples_assessment:
        wrong["simples_assessment"] = "Só ME/EPP do Simples tem esta apuração: deixe vazio. (E0162)"
    if is_simples and not terms.simples_bps:
        wrong["simples_bps"] = "ME/EPP informa a alíquota nominal da sua faixa. (E0712)"
    if terms.regime == TaxTerms.Regime.MEI and terms.special_regime != "0":
        wrong["special_regime"] = "MEI não tem regime especial: use 0. (E0583)"
    wrong |= _check_rates(terms)
    if terms.starts_on and terms.issuer_id and _has_later_notes(terms):
        wrong["starts_on"] = "Já há notas emitidas a partir desse dia por outra regra. Comece hoje ou depois."
    return wrong


def _check_rates(terms: TaxTerms) -> dict[str, str]:
    wrong = {name: "Uma alíquota vai até 100%." for name in RATES if (getattr(terms, name) or 0) > 10_000}
    if terms.iss_bps is not None and terms.iss_bps > ISS_BPS_MAX:
        wrong["iss_bps"] = "O ISS vai até 5%: no máximo 500. (E0595)"
    if not terms.pis_cofins_situation and (terms.pis_bps or terms.cofins_bps):
        wrong["pis_cofins_situation"] = "Para informar PIS e COFINS diga o CST."
    return wrong


def _has_later_notes(terms: TaxTerms) -> bool:
    begins_at = dt.datetime.combine(terms.starts_on, dt.time(), clock.SAO_PAULO)
    return Invoice.everywhere.filter(issuer_id=terms.issuer_id, issued_at__gte=begins_at).exclude(terms_id=terms.pk).exists()


def check_policy(policy: InvoicePolicy) -> dict[str, str]:
    """A policy starts with a month. The first may start with this one; another with a month that has not begun (the cut-over)."""
    if policy.starts_on.day != 1:
        return {"starts_on": "Uma política começa no dia 1º de um mês."}
    today = clock.today_in_brazil()
    others = InvoicePolicy.objects.filter(issuer_id=policy.issuer_id).exclude(pk=policy.pk)
    if policy.starts_on < today.replace(day=1):
        return {"starts_on": "Esse mês já passou: o que ele tinha já foi, ou não, faturado."}
    if policy.starts_on <= today and others.filter(starts_on__lte=today).exists():
        return {"starts_on": "A política em vigor vale até o fim deste mês: a nova começa no dia 1º do próximo, ou depois."}
    before = others.filter(starts_on__lt=policy.starts_on).order_by("-starts_on").first()
    if before is not None and before.kind == policy.kind:
        return {"kind": f"É o que já se fatura desde {before.starts_on:%d/%m/%Y}."}
    return {}


def has_begun(policy: InvoicePolicy) -> bool:
    return policy.starts_on <= clock.today_in_brazil()


@transaction.atomic
def raise_next_number(series: DpsSeries, *, next_number: int) -> None:
    """Where a series goes on after another system used it. Only upwards: a number is never used twice. Raises NotNow."""
    locked = DpsSeries.objects.select_for_update().get(pk=series.pk)
    if next_number <= locked.next_number:
        raise NotNow(f"O próximo número já é {locked.next_number}: ele só avança.")
    if next_number > NUMBER_MAX:
        raise NotNow("O número da DPS tem até 15 algarismos.")
    locked.next_number = next_number
    locked.save(update_fields=["next_number"])
