"""XML that comes from outside, read without harm: no DTD, no entities, no network, bounded. And the names of its spaces. Pure."""

from __future__ import annotations

from typing import Any

from lxml import etree

NS = "http://www.sped.fazenda.gov.br/nfse"
SIGNATURE_NS = "http://www.w3.org/2000/09/xmldsig#"
BYTES_MAX = 2_000_000

Element = Any  # lxml has no types


def safe_parser() -> Any:
    """A new one each time: parsers are not shared between threads."""
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=False)


def parse_xml(xml: bytes, *, bytes_max: int = BYTES_MAX) -> Element:
    """The root. Raises ValueError for what is too large, is not XML, or brings a document type of its own."""
    if len(xml) > bytes_max:
        raise ValueError("The XML is too large")
    try:
        root = etree.fromstring(xml, safe_parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise ValueError(f"Not XML: {error}") from error
    if root.getroottree().docinfo.doctype:
        raise ValueError("The XML brings a document type")
    return root


def name_of(element: Element) -> str:
    """The local name; empty for a comment."""
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def text_of(element: Element, path: str) -> str:
    """The text at `a/b/c` of the standard's namespace below `element`; empty where there is none."""
    found = element.find("/".join(f"{{{NS}}}{name}" for name in path.split("/")))
    return (found.text or "").strip() if found is not None else ""
