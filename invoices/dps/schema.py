"""The official XSD of the layout in force, and what of a document does not hold against it. Pure; no network, no DTD.

The files are nfelib's (bundle of 9 Feb 2026). The bundle of 27 Jul 2026, in production since 10 Aug 2026, has the same types with
other patterns: a CNPJ may hold letters. Those patterns are put in while the files are read (`PATTERNS`), in memory.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Literal

import nfelib
from lxml import etree

from invoices.dps.markup import NS, parse_xml

LAYOUT = "1.01"
BUNDLE = "20260727"  # esquemas-nfse-rtc-v1-01-<bundle>: nfelib's 20260209 with `PATTERNS`

Kind = Literal["DPS", "NFSe", "pedRegEvento", "evento"]

_FOLDER = Path(nfelib.__file__).parent / "nfse" / "schemas" / "v1_0"
_TYPES_FILE = "tiposSimples_v1.01.xsd"
# type: (pattern of nfelib's file, pattern in force)
PATTERNS = {
    "TSCNPJ": ("[0-9]{14}", "[0-9A-Z]{14}"),
    "TSIdDPS": ("DPS[0-9]{42}", "DPS[0-9]{7}(1[0-9]{14}|2[0-9A-Z]{14})[0-9]{20}"),
    "TSIdNFSe": ("NFS[0-9]{50}", "NFS[0-9]{9}[0-9A-Z]{14}[0-9]{27}"),
    # The official pattern puts the letters at 7 to 20, where no key has them (they are at 10 to 23). Both are taken.
    "TSChaveNFSe": ("[0-9]{50}", "[0-9]{9}[0-9A-Z]{14}[0-9]{27}|[0-9]{6}[0-9A-Z]{14}[0-9]{30}"),
    "TSIdPedRegEvt": ("PRE[0-9]{56}", "PRE[0-9]{8}(1[0-9]{14}|2[0-9A-Z]{14})[0-9]{33}"),
    "TSIdEvento": ("EVT[0-9]{59}", "EVT[0-9]{8}(1[0-9]{14}|2[0-9A-Z]{14})[0-9]{36}"),
    "TSSerieDPS": (r"0{0,4}\d{1,5}", "[0-9]{1,4}|[0-8][0-9]{4}"),
}
MESSAGES_MAX = 20

_schemas: dict[str, Any] = {}
_lock = threading.Lock()  # lxml keeps the errors of a validation on the schema itself


def check_schema(xml: bytes, kind: Kind) -> list[str]:
    """What does not hold, "element: why"; empty where everything does. What isn't XML at all is one such message."""
    try:
        root = parse_xml(xml)
    except ValueError as error:
        return [str(error)]
    with _lock:
        schema = _schemas.get(kind) or _schemas.setdefault(kind, _load(kind))
        if schema.validate(root):
            return []
        errors = [(error.path, error.message) for error in schema.error_log][:MESSAGES_MAX]
    return [f"{_element_in(root, path)}: {message.replace(f'{{{NS}}}', '')}" for path, message in errors]


def _load(kind: Kind) -> Any:
    files = {path.name: _read_file(path) for path in _FOLDER.glob("*.xsd")}
    parser = etree.XMLParser(no_network=True, resolve_entities=False)
    parser.resolvers.add(_PatchedFiles(files))
    name = f"{kind}_v{LAYOUT}.xsd"
    return etree.XMLSchema(etree.fromstring(files[name], parser, base_url=f"tokia:///{name}"))


class _PatchedFiles(etree.Resolver):  # type: ignore[misc]
    """Answers every include by its bare name, and nothing else."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def resolve(self, url: str, public_id: str, context: Any) -> Any:
        return self.resolve_string(self.files[url.rsplit("/", 1)[-1]], context, base_url=url)


def _read_file(path: Path) -> bytes:
    text = path.read_text("utf-8-sig")
    if path.name == _TYPES_FILE:
        for type_name, (old, new) in PATTERNS.items():
            text = _put_pattern(text, type_name=type_name, old=old, new=new)
    # The one DTD of the bundle (W3C's own, on the web) declares entities that its file does not use.
    if "<!DOCTYPE" in text:
        start = text.index("<!DOCTYPE")
        text = text[:start] + text[text.index("]>", start) + 2 :]
    return text.encode()


def _put_pattern(text: str, *, type_name: str, old: str, new: str) -> str:
    """Raises ValueError where the file is not the one `PATTERNS` was written for: a newer nfelib is read by a person first."""
    start = text.index(f'name="{type_name}"')
    end = text.index("</xs:simpleType>", start)
    quoted = f'pattern value="{old}"'
    if text.count(quoted, start, end) != 1:
        raise ValueError(f"{type_name} of the installed schema files is not the one that the patterns are for")
    at = text.index(quoted, start, end)
    return text[:at] + f'pattern value="{new}"' + text[at + len(quoted) :]


def _element_in(root: Any, path: str | None) -> str:
    """`/*/*[1]/*[9]` says nothing to a person: the names from below the root on."""
    found = root.xpath(path) if path else None
    names: list[str] = []
    element = found[0] if found else root
    while element is not None and element is not root:
        names.insert(0, etree.QName(element).localname)
        element = element.getparent()
    return "/".join(names) or etree.QName(root).localname
