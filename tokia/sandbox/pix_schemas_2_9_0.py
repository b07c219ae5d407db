"""Request schemas of the Banco Central's API Pix 2.9.0, by hand, and the small checker that reads them.

Only what the sandbox serves. The published document writes some patterns without anchors and CPF's with slashes; they
are meant as whole-value patterns and are matched so. Extra members are ignored, as the API's own evolution rule asks.
"""

from __future__ import annotations

import re
from typing import Any

from tokia.sandbox.asgi import Json

VERSION = "2.9.0"
Schema = dict[str, Any]
Violation = tuple[str, str, str]  # razao, propriedade, valor

TXID = r"[a-zA-Z0-9]{26,35}"
END_TO_END_ID = r"[a-zA-Z0-9]{32}"
REFUND_ID = r"[a-zA-Z0-9]{1,35}"
AMOUNT = r"\d{1,10}\.\d{2}"

_PERSON: Schema = {
    "type": "object",
    "required": ["nome"],
    "one_of": ["cpf", "cnpj"],
    "properties": {
        "cpf": {"type": "string", "pattern": r"\d{11}"},
        "cnpj": {"type": "string", "pattern": r"[0-9A-Z]{14}"},
        "nome": {"type": "string", "max_length": 200},
    },
}
_CALENDAR: Schema = {
    "type": "object",
    "properties": {"expiracao": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}},
}
_VALUE: Schema = {
    "type": "object",
    "required": ["original"],
    "properties": {
        "original": {"type": "string", "pattern": AMOUNT},
        "modalidadeAlteracao": {"type": "integer", "minimum": 0, "maximum": 1},
    },
}
_EXTRA_INFO: Schema = {
    "type": "array",
    "max_items": 50,
    "items": {
        "type": "object",
        "required": ["nome", "valor"],
        "properties": {
            "nome": {"type": "string", "max_length": 50},
            "valor": {"type": "string", "max_length": 200},
        },
    },
}
_COB_MEMBERS: Schema = {
    "calendario": _CALENDAR,
    "devedor": _PERSON,
    "valor": _VALUE,
    "chave": {"type": "string", "max_length": 77},
    "solicitacaoPagador": {"type": "string", "max_length": 140},
    "infoAdicionais": _EXTRA_INFO,
}

COB_REQUESTED: Schema = {"type": "object", "required": ["calendario", "valor", "chave"], "properties": _COB_MEMBERS}
COB_REVISED: Schema = {
    "type": "object",
    "properties": {**_COB_MEMBERS, "status": {"type": "string", "enum": ["REMOVIDA_PELO_USUARIO_RECEBEDOR"]}},
}
REFUND_REQUESTED: Schema = {
    "type": "object",
    "required": ["valor"],
    "properties": {
        "valor": {"type": "string", "pattern": AMOUNT},
        "natureza": {"type": "string", "enum": ["ORIGINAL", "RETIRADA"]},
        "descricao": {"type": "string", "max_length": 140},
    },
}
WEBHOOK_REQUESTED: Schema = {
    "type": "object",
    "required": ["webhookUrl"],
    "properties": {"webhookUrl": {"type": "string", "pattern": r"https?://[^\s/]+\S*"}},
}

_TYPES: dict[str, type | tuple[type, ...]] = {"object": dict, "array": list, "string": str, "integer": int}


def find_violations(value: Json, *, schema: Schema, path: str) -> list[Violation]:
    """Where `value` breaks `schema`, each with its path (`cob.valor.original`); empty when it is fine."""
    kind = schema["type"]
    if not isinstance(value, _TYPES[kind]) or isinstance(value, bool):
        return [(f"O campo {path} não respeita o schema: deveria ser {kind}.", path, _show(value))]
    found = [(f"O campo {path} não respeita o schema: {reason}.", path, _show(value)) for reason in _find_reasons(value, schema)]
    if isinstance(value, dict):
        missing = [name for name in schema.get("required", ()) if value.get(name) is None]
        found += [(f"O campo {path}.{name} é obrigatório.", f"{path}.{name}", "") for name in missing]
        for name, inner in schema.get("properties", {}).items():
            if value.get(name) is not None:
                found += find_violations(value[name], schema=inner, path=f"{path}.{name}")
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            found += find_violations(item, schema=schema["items"], path=f"{path}[{index}]")
    return found


def _find_reasons(value: Json, schema: Schema) -> list[str]:
    reasons: list[str] = []
    if "pattern" in schema and not re.fullmatch(schema["pattern"], value, re.ASCII):
        reasons.append(f"padrão {schema['pattern']}")
    if "max_length" in schema and len(value) > schema["max_length"]:
        reasons.append(f"no máximo {schema['max_length']} caracteres")
    if "enum" in schema and value not in schema["enum"]:
        reasons.append(f"um de {', '.join(schema['enum'])}")
    if "minimum" in schema and not schema["minimum"] <= value <= schema.get("maximum", value):
        reasons.append(f"de {schema['minimum']} a {schema.get('maximum', '…')}")
    if "max_items" in schema and len(value) > schema["max_items"]:
        reasons.append(f"no máximo {schema['max_items']} itens")
    if "one_of" in schema and sum(name in value for name in schema["one_of"]) != 1:
        reasons.append(f"exatamente um de {', '.join(schema['one_of'])}")
    return reasons


def _show(value: Json) -> str:
    return str(value)[:200]
