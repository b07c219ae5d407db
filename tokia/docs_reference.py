"""The reference of `/api/v1`, one page per subject, made from its description: it says what the operations do.

The description is Portuguese, as the API is. On the English pages its texts are those of `content/en/api.toml`; what has none
there stays as it is.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from tokia import openapi
from tokia.docs_markdown import slugify
from tokia.language import is_english

METHODS = ("get", "post", "put", "patch", "delete")
KINDS = {
    "string": gettext_noop("texto"),
    "integer": gettext_noop("inteiro"),
    "number": gettext_noop("número"),
    "boolean": gettext_noop("sim ou não"),
    "object": gettext_noop("objeto"),
    "array": gettext_noop("lista"),
}
FORMATS = {"date": gettext_noop("dia"), "date-time": gettext_noop("instante"), "uuid": "UUID"}
MANY = {
    "texto": gettext_noop("textos"),
    "inteiro": gettext_noop("inteiros"),
    "número": gettext_noop("números"),
    "objeto": gettext_noop("objetos"),
    "dia": gettext_noop("dias"),
}
PLACES = {"path": gettext_noop("endereço"), "query": gettext_noop("consulta"), "header": gettext_noop("cabeçalho")}
DEPTH_MAX = 3  # of objects in objects that a table shows
ENGLISH_TEXTS = settings.BASE_DIR / "templates" / "docs" / "content" / "en" / "api.toml"
_PERMISSION = re.compile(r"Permissão: (`[a-z_.]+`)\.")
Schema = dict[str, Any]


def heads() -> list[tuple[str, str, str]]:
    """Slug, title and first paragraph of each page, without making the description."""
    lead = _("{text} Operações da API de gestão, em /api/v1.")
    return [(f"api-{slugify(name)}", f"API: {translate(name)}", lead.format(text=translate(text))) for name, text in openapi.TAGS]


def write_page(slug: str) -> str:
    """Markdown. Raises KeyError for a slug that is none of `heads`."""
    described = openapi.document()
    name = {f"api-{slugify(name)}": name for name, text in openapi.TAGS}[slug]
    title, lead = next((title, lead) for each, title, lead in heads() if each == slug)
    parts = [
        f"# {title}",
        lead,
        _("Acesso, erros, listas e repetição são os mesmos em todas: veja [API de gestão](/docs/api-de-gestao/)."),
    ]
    for method, path, operation in _operations(described, name):
        parts += _write_operation(described, method, path, operation)
    return "\n\n".join(parts) + "\n"


def translate(text: str) -> str:
    """A text of the description in the active language, paragraph by paragraph."""
    if not is_english():
        return text
    known = english_texts()
    return "\n\n".join(_PERMISSION.sub(r"Permission: \1.", known.get(part, part)) for part in text.split("\n\n"))


@cache
def english_texts() -> Mapping[str, str]:
    """Portuguese → English."""
    told = tomllib.loads(ENGLISH_TEXTS.read_text(encoding="utf-8"))
    return {text: english for part in told.values() for text, english in part.items()}


def _operations(described: Schema, tag: str) -> Iterator[tuple[str, str, Schema]]:
    for path, address in described["paths"].items():
        for method in METHODS:
            if method in address and tag in address[method].get("tags", ()):
                yield method, path, address[method]


def _write_operation(described: Schema, method: str, path: str, operation: Schema) -> Iterator[str]:
    yield f"## {translate(operation['summary'])}"
    yield f"`{method.upper()} {path}`"
    yield translate(str(operation["description"]))
    parameters = operation.get("parameters", [])
    if parameters:
        yield _("Parâmetros:")
        yield _table(
            (_("Nome"), _("Onde"), _("Tipo"), _("O que é")),
            [(f"`{it['name']}`", _(PLACES.get(it["in"], it["in"])), kind_of(described, it.get("schema", {})), _text(it))
             for it in parameters],
        )  # fmt: skip
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if body:
        yield _("Corpo do pedido:")
        yield _fields_table(described, body["schema"], is_asked=True)
        yield from _example(body)
    for status, answer in operation.get("responses", {}).items():
        content = answer.get("content", {}).get("application/json", {})
        if status.startswith("2") and content:
            yield _("Resposta {status}:").format(status=status)
            yield _fields_table(described, content["schema"])
            yield from _example(content)
        elif status.startswith("2"):
            kinds = ", ".join(f"`{kind}`" for kind in answer.get("content", {}))
            yield _("Resposta {status}: {kinds}.").format(status=status, kinds=kinds or _("sem corpo"))
    refusals = [
        f"{status} ({translate(answer['description'])})" for status, answer in operation["responses"].items() if status[0] in "45"
    ]
    if refusals:
        told = _("Recusas: {refusals}. Códigos em [Erros](/docs/erros/#codigos-da-api-de-gestao).")
        yield told.format(refusals=", ".join(refusals))


def _example(content: Schema) -> Iterator[str]:
    for example in list(content.get("examples", {}).values())[:1]:
        yield f"```json\n{json.dumps(example['value'], ensure_ascii=False, indent=2)}\n```"


def _fields_table(described: Schema, schema: Schema, *, is_asked: bool = False) -> str:
    """`is_asked`: of a request, where it matters which fields may be left out."""
    rows = list(_rows(described, schema, is_asked=is_asked))
    return _table((_("Campo"), _("Tipo"), _("O que é")), rows) if rows else _("Sem campos.")


def _rows(described: Schema, schema: Schema, prefix: str = "", *, is_asked: bool = False) -> Iterator[tuple[str, ...]]:
    schema = resolve(described, schema)
    required = schema.get("required", ()) if is_asked else ()
    for name, field in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        kind = kind_of(described, field)
        kind = _("{kind}, obrigatório").format(kind=kind) if name in required else kind
        yield f"`{path}`", kind, _text({**resolve(described, field), **field})
        inner = _inner(described, field)
        if inner is not None and path.count(".") < DEPTH_MAX:
            mark = "[]." if "items" in resolve(described, field) else "."
            yield from _rows(described, inner, f"{path}{mark}", is_asked=is_asked)


def _inner(described: Schema, field: Schema) -> Schema | None:
    """The object inside of a field, or of a list of them."""
    field = resolve(described, field)
    if field.get("type") == "array" or "items" in field:
        field = resolve(described, field.get("items", {}))
    return field if field.get("properties") else None


def resolve(described: Schema, schema: Schema) -> Schema:
    """Follows `$ref`, and the one part of `allOf`, `oneOf` or `anyOf` that is not null."""
    for _step in range(10):
        if "$ref" in schema:
            schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            continue
        parts = [part for word in ("allOf", "oneOf", "anyOf") for part in schema.get(word, ()) if part.get("type") != "null"]
        if len(parts) == 1 and "properties" not in schema:
            schema = {**parts[0], **{name: value for name, value in schema.items() if name not in ("allOf", "oneOf", "anyOf")}}
            continue
        break
    return schema


def kind_of(described: Schema, schema: Schema) -> str:
    """In words: "texto", "lista de objetos", "inteiro ou nada"."""
    schema = resolve(described, schema)
    kinds = schema.get("type", "")
    names = [kinds] if isinstance(kinds, str) else list(kinds)
    shown = [_(KINDS.get(name, name)) for name in names if name and name != "null"]
    if "items" in schema:
        kind = kind_of(described, schema["items"])
        many = {_(one): _(several) for one, several in MANY.items()}
        shown = [_("lista de {kinds}").format(kinds=many.get(kind, kind))]
    if "enum" in schema:
        values = ", ".join(f"`{value}`" for value in schema["enum"] if value not in (None, ""))
        shown = [_("um de {values}").format(values=values)]
    if schema.get("format") in FORMATS:
        shown = [_(FORMATS[schema["format"]])]
    text = f" {_('ou')} ".join(dict.fromkeys(shown)) or _("qualquer valor")
    return _("{kind} ou nada").format(kind=text) if "null" in names or schema.get("nullable") else text


def _text(described: Schema) -> str:
    text = str(described.get("description", "")).partition("\n\n* `")[0].strip()
    return "" if text.startswith("* `") else translate(text)


def _table(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) or "–" for cell in row) + " |" for row in rows]
    return "\n".join(lines)
