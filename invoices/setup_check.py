"""Whether an issuer could issue today: each thing an invoice needs, looked at without sending or numbering anything."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from accounts.tax_ids import format_tax_id
from invoices import attention, certificates
from invoices.building import terms_for
from invoices.cities import check_channel, city_terms
from invoices.dps.build import build_dps
from invoices.dps.document import Dps, Prestador, Taker
from invoices.dps.ids import dps_id
from invoices.dps.rules import check_rules
from invoices.dps.schema import check_schema
from invoices.dps.sign import sign
from invoices.focus import build_body
from invoices.issuers import check_terms
from invoices.models import DpsSeries, InvoicePolicy, Issuer, TaxTerms
from invoices.terms import policy_on, terms_on
from tokia import clock
from tokia.errors import TokiaError

TRIAL_CENTAVOS = 100_00
# Takers that nobody bills: which one depends on the issuer, since a note to one's own root is refused (E0202).
TRIAL_TAX_IDS = ("11222333000181", "45997418000153")
SAO_PAULO_CITY = "3550308"


@dataclass(frozen=True, slots=True)
class Finding:
    """`cure` where it is not well; `place` names the admin page (`reverse("admin:…")`) where the cure is."""

    label: str
    is_ok: bool
    text: str
    cure: str = ""
    place: str = ""


def check_setup(issuer: Issuer) -> list[Finding]:
    """Everything, in the sequence in which a person would set it up. A check that can't be made is not well, and says why."""
    checks: list[tuple[str, Callable[[Issuer], Finding]]] = [
        ("Emitente ativo", _active),
        ("Certificado ou token", _secret),
        ("Município", _city),
        ("Regra fiscal de hoje", _terms),
        ("Alíquota do ISS", _rate),
        ("O que se fatura", _policy),
        ("Numeração", _series),
        ("DPS de teste", _trial),
    ]
    return [_looked_at(label, look, issuer) for label, look in checks]


def _looked_at(label: str, look: Callable[[Issuer], Finding], issuer: Issuer) -> Finding:
    try:
        return look(issuer)
    except TokiaError as refusal:
        return Finding(label, False, refusal.message, "Corrija os itens acima e confira de novo.")


def _active(issuer: Issuer) -> Finding:
    told = f"{issuer.name} · {format_tax_id(issuer.tax_id)} · {issuer.get_environment_display()}"
    if issuer.is_active:
        return Finding("Emitente ativo", True, told)
    return Finding("Emitente ativo", False, told, "As notas novas são de outro emitente. Torne este o ativo, na página dele.")


def _secret(issuer: Issuer) -> Finding:
    if issuer.channel == Issuer.Channel.MANUAL:
        return Finding("Certificado ou token", True, "Canal manual: nenhum é preciso.")
    if issuer.channel == Issuer.Channel.FOCUS:
        if issuer.focus_token:
            return Finding("Token da Focus", True, "Guardado, cifrado.")
        cure = "Na página do emitente, em “Mais”, troque o token."
        return Finding("Token da Focus", False, "Nenhum token.", cure, "invoices_issuer_changelist")
    place = "invoices_certificate_changelist"
    try:
        a1 = certificates.load(issuer)
    except TokiaError as refusal:
        return Finding("Certificado A1", False, refusal.message, "Envie um certificado A1 válido deste CNPJ.", place)
    kept = attention.certificate_of(issuer)
    days = attention.days_left(kept) if kept else (a1.ends_at - clock.now()).days
    told = f"{kept.subject if kept else 'Certificado'}: {days} dia{'' if days == 1 else 's'} até {a1.ends_at:%d/%m/%Y}."
    if days <= 5:
        return Finding("Certificado A1", False, told, "Peça já a renovação e envie o novo: sem ele a fila para.", place)
    return Finding("Certificado A1", True, told)


def _city(issuer: Issuer) -> Finding:
    place = "invoices_issuer_changelist"
    if issuer.channel != Issuer.Channel.SEFIN:
        return Finding("Município", True, f"O canal {issuer.get_channel_display()} não depende do convênio.")
    cure = "Consulte o município na página do emitente; se ele não usa o emissor nacional, mude o canal."
    try:
        terms = city_terms(issuer)
        check_channel(issuer)
    except TokiaError as refusal:
        return Finding("Município", False, refusal.message, cure, place)
    return Finding("Município", True, f"Usa o emissor nacional (consultado em {_day(terms.checked_at)}).")


def _terms(issuer: Issuer) -> Finding:
    label, place = "Regra fiscal de hoje", "invoices_taxterms_changelist"
    try:
        terms = terms_on(issuer, clock.today_in_brazil())
    except TokiaError as refusal:
        return Finding(label, False, refusal.message, "Crie a regra com o contador.", place)
    wrong = {name: told for name, told in check_terms(terms).items() if name != "starts_on"}
    if wrong:
        return Finding(label, False, " ".join(wrong.values()), "Crie uma regra corrigida a partir de hoje.", place)
    return Finding(label, True, f"{terms}; serviço {terms.service_code}, NBS {terms.nbs_code}.")


def _rate(issuer: Issuer) -> Finding:
    label, terms = "Alíquota do ISS", terms_on(issuer, clock.today_in_brazil())
    if issuer.channel != Issuer.Channel.SEFIN:
        return Finding(label, True, f"Na regra: {_percent(terms.iss_bps)}.")
    theirs = city_terms(issuer).iss_bps
    told = f"Na regra: {_percent(terms.iss_bps)}. No município: {_percent(theirs)}."
    if terms.iss_bps is not None and theirs is not None and terms.iss_bps != theirs:
        cure = "Confirme com o contador e crie uma regra com a alíquota do município, ou sem alíquota."
        return Finding(label, False, told, cure, "invoices_taxterms_changelist")
    return Finding(label, True, told)


def _policy(issuer: Issuer) -> Finding:
    label, today = "O que se fatura", clock.today_in_brazil()
    policy = policy_on(issuer, today)
    if policy is None:
        later = InvoicePolicy.objects.filter(issuer=issuer).order_by("starts_on").first()
        told = f"Nada até {later.starts_on:%d/%m/%Y}." if later else "Nada: não há política."
        return Finding(
            label, False, told, "Crie uma política com início neste mês ou no próximo.", "invoices_invoicepolicy_changelist"
        )
    return Finding(label, True, f"{policy}.")


def _series(issuer: Issuer) -> Finding:
    row = DpsSeries.objects.filter(
        city_code=issuer.city_code, tax_id=issuer.tax_id, series=issuer.series, environment=issuer.environment
    ).first()
    number = row.next_number if row else 1
    return Finding(
        "Numeração", True, f"Série {issuer.series}, próximo número {number}, em {issuer.get_environment_display().lower()}."
    )


def _trial(issuer: Issuer) -> Finding:
    """A document of today for a taker that is nobody, by the rules and the schema, signed where there is what signs."""
    label = "DPS de teste"
    dps = trial_dps(issuer, terms_on(issuer, clock.today_in_brazil()))
    cure = "Corrija a regra fiscal ou o emitente no campo apontado."
    if problems := check_rules(dps):
        told = " ".join(f"{problem.code}: {problem.text_pt} ({problem.field})" for problem in problems[:3])
        return Finding(label, False, told, cure, "invoices_taxterms_changelist")
    if issuer.channel == Issuer.Channel.FOCUS:
        build_body(dps, resource="nfsen")
        return Finding(label, True, "Montada para a Focus; nada foi enviado.")
    xml = build_dps(dps)
    if faults := check_schema(xml, "DPS"):
        return Finding(label, False, f"Não segue o esquema: {faults[0]}", cure, "invoices_taxterms_changelist")
    if issuer.channel == Issuer.Channel.MANUAL:
        return Finding(label, True, "Os dados bastam para uma nota; o canal manual não envia.")
    a1 = certificates.load(issuer)
    reference = dps_id(city_code=issuer.city_code, tax_id=issuer.tax_id, series=dps.series, number=dps.number)
    signed = sign(xml, reference=reference, key=a1.key, certificate=a1.certificate, method=issuer.signature)
    if faults := check_schema(signed, "DPS"):
        return Finding(label, False, f"Assinada, não segue o esquema: {faults[0]}", cure)
    return Finding(label, True, f"Montada, conferida pelo esquema e assinada ({len(signed)} bytes). Nada foi enviado.")


def trial_dps(issuer: Issuer, terms: TaxTerms) -> Dps:
    """Number 1 of the issuer's series: it takes none."""
    today = clock.today_in_brazil()
    tax_id = next(found for found in TRIAL_TAX_IDS if found[:8] != issuer.tax_id[:8])
    return Dps(
        environment=issuer.environment, series=issuer.series, number=1,
        issued_at=(clock.now() - dt.timedelta(seconds=60)).replace(microsecond=0), competence_on=today,
        prestador=Prestador(
            tax_id=issuer.tax_id, city_code=issuer.city_code,
            municipal_registration=issuer.municipal_registration if issuer.sends_municipal_registration else "",
        ),
        taker=Taker(
            tax_id=tax_id, name="Tomador de teste", email="teste@example.com.br", city_code=SAO_PAULO_CITY, postal_code="01310100",
            street="Avenida Paulista", number="1000", district="Bela Vista",
        ),
        terms=terms_for(terms, day=today, channel=issuer.channel), amount_centavos=TRIAL_CENTAVOS,
        description=terms.description.replace("{period}", f"{today:%m/%Y}"),
    )  # fmt: skip


def _percent(bps: int | None) -> str:
    return "não informada" if bps is None else f"{bps // 100},{bps % 100:02d}%"


def _day(at: dt.datetime) -> str:
    return f"{at.astimezone(clock.SAO_PAULO):%d/%m/%Y %H:%M}"
