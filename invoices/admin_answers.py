"""What the tax office said, as it came: shown readable and escaped, downloaded byte for byte."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.html import format_html
from django.utils.safestring import SafeString
from lxml import etree
from unfold.decorators import action, display

from billing.admin_parts import InfinitePaginator, LookOnly, to
from invoices.dps.packing import unpack
from invoices.models import InvoiceEvent

# mypy: disable-error-code="misc,untyped-decorator"
SHOWN_CHARACTERS_MAX = 200_000
UNPACKED_BYTES_MAX = 2_097_152
PACKED_SUFFIX = "GZipB64"  # how the national system names a packed document inside its JSON


def pretty(body: bytes) -> str:
    """XML and JSON indented, documents packed inside of JSON opened below it; anything else as text. Never raises."""
    text = body.decode("utf-8", "replace").strip()
    if text.startswith("<"):
        text = _pretty_xml(body) or text
    elif text.startswith(("{", "[")):
        text = _pretty_json(text) or text
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}\n… (o resto está no arquivo)"


def _pretty_xml(body: bytes) -> str:
    parser = etree.XMLParser(remove_blank_text=True, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        tree = etree.fromstring(body.strip(), parser)
    except (etree.XMLSyntaxError, ValueError):
        return ""
    return str(etree.tostring(tree, pretty_print=True, encoding="unicode"))


def _pretty_json(text: str) -> str:
    try:
        content = json.loads(text)
        opened = _open_packed(content) if isinstance(content, dict) else ""
        return json.dumps(content, ensure_ascii=False, indent=2) + opened
    except (ValueError, RecursionError):
        return ""


def _open_packed(content: dict[str, Any]) -> str:
    """The documents inside; in `content` a note stands in the place of each that opens."""
    opened = ""
    for name, packed in content.items():
        if not (name.endswith(PACKED_SUFFIX) and isinstance(packed, str)):
            continue
        try:
            inside = unpack(packed, bytes_max=UNPACKED_BYTES_MAX)
        except ValueError as error:
            opened += f"\n\n── {name}: não abre ({error}) ──"
        else:
            content[name] = f"({len(packed)} caracteres: abaixo, aberto)"
            opened += f"\n\n── {name}, aberto ──\n{_pretty_xml(inside) or inside.decode('utf-8', 'replace')}"
    return opened


def show(body: bytes | memoryview | None) -> SafeString | str:
    """The readable text in a box that scrolls and breaks long lines without a style of its own."""
    if not body:
        return "—"
    text = pretty(bytes(body))
    rows = min(max(text.count("\n") + 2, 4), 40)
    return format_html(
        '<textarea readonly rows="{}" spellcheck="false" aria-label="Resposta" class="border border-base-200 font-mono p-3'
        ' rounded-default text-xs w-full dark:bg-base-900 dark:border-base-700">\n{}</textarea>',
        rows, text,
    )  # fmt: skip


def kind_of(body: bytes) -> tuple[str, str]:
    """What a file of these bytes is: (content type, ending)."""
    start = body.lstrip()[:1]
    if start == b"<":
        return "application/xml", "xml"
    if start in (b"{", b"["):
        return "application/json", "json"
    return ("application/pdf", "pdf") if body.startswith(b"%PDF") else ("application/octet-stream", "bin")


def download(body: bytes | memoryview | None, *, name: str) -> HttpResponse:
    """The bytes as a file, never shown in place: what others wrote is not ours to render. Raises Http404 where there are none."""
    if not body:
        raise Http404("Não há arquivo.")
    content = bytes(body)
    content_type, ending = kind_of(content)
    response = HttpResponse(content, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}.{ending}"'
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


@admin.register(InvoiceEvent)
class InvoiceEventAdmin(LookOnly):
    """Everything that was said about invoices, for ever."""

    list_display = ("created_at", "invoice_link", "organization", "kind", "text", "status_code", "actor")
    list_filter = ("kind", "status_code")
    list_select_related = ("invoice", "organization")
    search_fields = ("=invoice__access_key", "=invoice__nfse_number", "organization__name", "organization__tax_id", "text")
    ordering = ("-id",)
    paginator = InfinitePaginator
    fields = readonly_fields = (
        "created_at", "invoice_link", "organization_link", "kind", "text", "status_code", "actor", "size", "answer",
    )  # fmt: skip
    actions_detail = ("take_answer",)

    def get_queryset(self, request: HttpRequest) -> Any:
        found = super().get_queryset(request)
        resolved = request.resolver_match
        return found.defer("body") if resolved and resolved.url_name == "invoices_invoiceevent_changelist" else found

    @display(description="nota")
    def invoice_link(self, event: InvoiceEvent) -> SafeString | str:
        return to(event.invoice)

    @display(description="empresa")
    def organization_link(self, event: InvoiceEvent) -> SafeString | str:
        return to(event.organization)

    @display(description="tamanho")
    def size(self, event: InvoiceEvent) -> str:
        return f"{len(event.body)} bytes" if event.body else "—"

    @display(description="resposta, como veio")
    def answer(self, event: InvoiceEvent) -> SafeString | str:
        return show(event.body)

    @action(description="Baixar como veio", url_path="baixar", permissions=["view"])
    def take_answer(self, request: HttpRequest, object_id: str) -> HttpResponse:
        event = get_object_or_404(InvoiceEvent.everywhere, pk=object_id)
        return download(event.body, name=f"resposta-{event.invoice_id}-{event.pk}")
