"""Who stands behind the pages: `{% imprint as site %}`. From the settings alone, so that error pages and `/status/` have it too."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from django import template
from django.conf import settings
from django.utils.translation import gettext as _

from tokia.templatetags.tokia import tax_id

register = template.Library()


@dataclass(frozen=True, slots=True)
class Imprint:
    """What is empty is not shown."""

    name: str
    tax_id: str
    address: str
    email: str
    whatsapp: str  # as it is written: `+55 (11) 91234-5678`
    whatsapp_url: str
    dpo_name: str
    dpo_email: str


@register.simple_tag
def imprint() -> Imprint:
    number = settings.SUPPORT_WHATSAPP
    return Imprint(
        name=settings.RECEIVER_NAME, tax_id=tax_id(settings.RECEIVER_TAX_ID), address=settings.IMPRINT_ADDRESS,
        email=settings.SUPPORT_EMAIL, whatsapp=tell_phone(number),
        whatsapp_url=f"https://wa.me/{number}?text={quote(_('Olá! Vim pelo site da Tokia.'))}" if number else "",
        dpo_name=settings.DPO_NAME, dpo_email=settings.DPO_EMAIL or settings.SUPPORT_EMAIL,
    )  # fmt: skip


def tell_phone(digits: str) -> str:
    """`5511912345678` → `+55 (11) 91234-5678`; what is no Brazilian number stays as it is."""
    if digits.isdigit() and digits.startswith("55") and len(digits) in (12, 13):
        return f"+55 ({digits[2:4]}) {digits[4:-4]}-{digits[-4:]}"
    return digits


@register.filter
def sem_sinal(nanos: int) -> int:
    """Where words say which way: `R$ 10,00 a menos`."""
    return abs(nanos)
