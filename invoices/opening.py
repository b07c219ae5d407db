"""Which way an invoice goes out."""

from __future__ import annotations

from invoices.channels import Channel
from invoices.errors import NotNow
from invoices.focus import Focus
from invoices.models import Issuer
from invoices.sefin import Sefin


def open_channel(issuer: Issuer, *, channel: str) -> Channel:
    """The channel that a document was born in (`Invoice.channel`; the issuer's own for a new one).

    Raises NoCertificate where it can't begin, NotNow for what a person issues by hand.
    """
    if channel == Issuer.Channel.SEFIN:
        return Sefin(issuer)
    if channel == Issuer.Channel.FOCUS:
        return Focus(issuer)
    raise NotNow("Esta nota é emitida à mão: emita no site da prefeitura e envie o documento aqui.")
