"""What rows of notes keep in words: kept in Portuguese, whoever's request it was, and told in the language of whoever reads it now.

Mails, the API and the admin say it as it is kept. What the tax office answered and what a person wrote stay as they were written.
"""

from __future__ import annotations

from django.utils.translation import gettext, gettext_noop

# Of InvoiceEvent(DELIVERY): which mail went to whom.
MAILED = gettext_noop("Nota por e-mail para {email}.")
CANCELLED_MAILED = gettext_noop("Aviso de cancelamento por e-mail para {email}.")
REPLACED_MAILED = gettext_noop("Aviso de substituição por e-mail para {email}.")
ASKED = gettext_noop("Reenvio por e-mail pedido.")
NOT_TAKEN = gettext_noop("O e-mail não foi aceito pelo servidor do destinatário. Confira os endereços e reenvie.")
# Of Invoice.problem with the code TAKER: what the customer can mend.
LACKING = gettext_noop("Para emitir a nota falta: {fields}.")
NAME_UNUSABLE = gettext_noop("O nome não tem nenhum caractere que a NFS-e aceite.")
# Of InvoiceLine.route_name: of what notes of top-ups tell; below zero, but where an older month waited.
COVERED = gettext_noop("Ajuste por recargas já faturadas")
# The field of a customer's form → how a person calls it.
FIELDS = {
    "name": gettext_noop("razão social ou nome"),
    "tax_id": gettext_noop("CNPJ ou CPF"),
    "postal_code": gettext_noop("CEP"),
    "street": gettext_noop("logradouro"),
    "number": gettext_noop("número do endereço"),
    "district": gettext_noop("bairro"),
    "city": gettext_noop("cidade"),
    "state": gettext_noop("estado (UF)"),
}


def keep_lack(names: list[str]) -> str:
    """The problem of a note whose taker lacks these of FIELDS, as a row keeps it."""
    fields = [FIELDS[name] for name in names]
    return LACKING.format(fields=fields[0] if len(fields) == 1 else f"{', '.join(fields[:-1])} e {fields[-1]}")


def tell_problem(problem: str) -> str:
    opening, _, ending = LACKING.partition("{fields}")
    if not problem.startswith(opening) or not problem.endswith(ending):
        return tell_kept(problem)
    fields = [gettext(field) for field in FIELDS.values() if field in problem]
    if not fields:
        return problem
    listed = fields[0] if len(fields) == 1 else gettext("{names} e {last}").format(names=", ".join(fields[:-1]), last=fields[-1])
    return gettext(LACKING).format(fields=listed)


def tell_event(text: str) -> str:
    for shape in (MAILED, CANCELLED_MAILED, REPLACED_MAILED):
        opening, _, ending = shape.partition("{email}")
        if text.startswith(opening) and text.endswith(ending):
            return gettext(shape).format(email=text[len(opening) : -len(ending)])
    return tell_kept(text)


def tell_kept(text: str) -> str:
    """One that is kept without anything in it; anybody else's words as they are."""
    return gettext(text) if text in (ASKED, NOT_TAKEN, NAME_UNUSABLE, COVERED) else text
