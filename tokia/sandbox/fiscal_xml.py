"""XML of the national NFS-e: read without tricks, packed as the services want it, checked against the official schemas.

The schemas are the published ones of layout 1.01 (bundle of 9 Feb 2026) with the patterns of the bundle of 27 Jul 2026, which let
a CNPJ hold letters. They are read here, apart from whatever Tokia's own code does with them.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import zlib
from functools import cache
from importlib import resources
from typing import Any

from lxml import etree

NS = "http://www.sped.fazenda.gov.br/nfse"
DSIG = "http://www.w3.org/2000/09/xmldsig#"
XSD = "{http://www.w3.org/2001/XMLSchema}"
XML_BYTES_MAX = 1_048_576
LAYOUT = "v1.01"
_DTD = re.compile(rb"<!DOCTYPE.*?\]>", re.DOTALL)
_ISSUER_TAX_ID = "(1[0-9]{14}|2[0-9A-Z]{12}[0-9]{2})"  # tpInsc, then a CPF after zeros or a CNPJ
# Simple type → its pattern of 27 Jul 2026. TSChaveNFSe as published there has the letters three characters too early (7–20
# instead of 10–23); the live system takes keys of both shapes, and so do we.
PATTERNS = {
    "TSCNPJ": "[0-9A-Z]{12}[0-9]{2}",
    "TSIdDPS": f"DPS[0-9]{{7}}{_ISSUER_TAX_ID}[0-9]{{20}}",
    "TSIdNFSe": f"NFS[0-9]{{7}}[12]{_ISSUER_TAX_ID}[0-9]{{27}}",
    "TSChaveNFSe": "[0-9]{9}[0-9A-Z]{14}[0-9]{27}|[0-9]{6}[0-9A-Z]{14}[0-9]{30}",
    "TSIdPedRegEvt": f"PRE[0-9]{{7}}[12]{_ISSUER_TAX_ID}[0-9]{{33}}",
    "TSIdEvento": f"EVT[0-9]{{7}}[12]{_ISSUER_TAX_ID}[0-9]{{36}}",
    "TSSerieDPS": "[0-9]{1,4}|[0-8][0-9]{4}",
}

Element = Any  # lxml's own, whose stubs differ by version


class BadPacking(Exception):
    """Not base64 of gzip of at most XML_BYTES_MAX."""


class BadXml(Exception):
    """Not a well-formed document that we would read: a DTD, an entity, or no XML at all."""


def pack(xml: bytes) -> str:
    return base64.b64encode(gzip.compress(xml, compresslevel=6, mtime=0)).decode()


def unpack(text: object) -> bytes:
    """The XML of a `…GZipB64` field. Stops at XML_BYTES_MAX, however far the archive would unfold. Raises BadPacking."""
    if not isinstance(text, str):
        raise BadPacking("a string was expected")
    try:
        packed = base64.b64decode(text, validate=True)
        unfolding = zlib.decompressobj(wbits=31)  # gzip alone
        xml = unfolding.decompress(packed, XML_BYTES_MAX + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise BadPacking(str(error)) from error
    if len(xml) > XML_BYTES_MAX:
        raise BadPacking(f"more than {XML_BYTES_MAX} bytes")
    if not unfolding.eof or unfolding.unused_data:
        raise BadPacking("cut, or with something behind its end")
    return xml


def parse(xml: bytes) -> Element:
    """The root element. Raises BadXml."""
    try:
        root = etree.fromstring(xml, _parser())
    except etree.XMLSyntaxError as error:
        raise BadXml(str(error)) from error
    if root.getroottree().docinfo.doctype:
        raise BadXml("a document type is not allowed")
    return root


def _parser() -> Any:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=False)


def find_schema_errors(root: Element, kind: str) -> list[str]:
    """What the official schema of `kind` (DPS, NFSe, pedRegEvento, evento) says against a document, in its own words."""
    # A copy of its own: validating fills in defaults, and the validator remembers its last document's errors.
    schema = _schema(kind)
    if schema.validate(etree.fromstring(etree.tostring(root), _parser())):
        return []
    return [f"linha {entry.line}: {entry.message}"[:400] for entry in schema.error_log]


@cache
def _schema(kind: str) -> Any:
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    parser.resolvers.add(_Shelf())
    return etree.XMLSchema(etree.fromstring(_read(f"{kind}_{LAYOUT}.xsd"), parser, base_url=f"shelf:///{kind}_{LAYOUT}.xsd"))


class _Shelf(etree.Resolver):  # type: ignore[misc]  # lxml has no types
    """Gives the schemas' includes and imports, amended, without a file being written."""

    def resolve(self, system_url: str, public_id: str | None, context: Any) -> Any:
        name = system_url.rpartition("/")[2]
        return self.resolve_string(_read(name), context, base_url=f"shelf:///{name}")


def _read(name: str) -> bytes:
    """A schema file as we apply it: no DTD, the patterns of July."""
    content = (resources.files("nfelib") / "nfse" / "schemas" / "v1_0" / name).read_bytes()
    content = _DTD.sub(b"", content.removeprefix(b"\xef\xbb\xbf"))
    if name != f"tiposSimples_{LAYOUT}.xsd":
        return content
    root = etree.fromstring(content)
    for type_name, pattern in PATTERNS.items():
        facets = root.findall(f"{XSD}simpleType[@name='{type_name}']/{XSD}restriction/{XSD}pattern")
        if len(facets) != 1:
            raise RuntimeError(f"{name}: {type_name} is not the type that we amend")
        facets[0].set("value", pattern)
    amended: bytes = etree.tostring(root)
    return amended


def text_of(element: Element, path: str) -> str:
    """The text at `prest/regTrib/opSimpNac` below an element, names of the NFS-e's namespace; empty where there is none."""
    found = element.find("/".join(f"{{{NS}}}{name}" for name in path.split("/")))
    return "" if found is None else (found.text or "")


def has(element: Element, path: str) -> bool:
    return element.find("/".join(f"{{{NS}}}{name}" for name in path.split("/"))) is not None


def add(parent: Element, name: str, text: str | None = None) -> Element:
    """A new last child."""
    child = etree.SubElement(parent, f"{{{NS}}}{name}")
    child.text = text
    return child


def dump_xml(root: Element) -> bytes:
    """The bytes that are signed, sent and kept: never indented."""
    body: bytes = etree.tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>' + body
