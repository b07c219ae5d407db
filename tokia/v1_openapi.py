"""The description of `/v1` (`gateway/v1.yaml`), and of everything: it and the management API's in one document of OpenAPI 3.1."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import yaml
from django.conf import settings

from tokia import openapi

SOURCE = settings.BASE_DIR / "gateway" / "v1.yaml"
METHODS = ("get", "post", "put", "patch", "delete")
TEXT = """\
Duas APIs com a mesma chave (`Authorization: Bearer sk-tokia-…`):

- **`/v1`**, em {gateway}: modelos de IA, nas palavras da OpenAI, da Anthropic e da Cohere. Aponte a `base_url` do SDK para
  {gateway}/v1.
- **`/api/v1`**, em {web}: tudo o que o painel faz.

Documentação para gente: {web}/docs/.

"""


@cache
def v1_document() -> dict[str, Any]:
    """`paths`, `components` and `tags` of `/v1`, each path with the gateway's own server. Don't change what you are given."""
    told: dict[str, Any] = yaml.load(SOURCE.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    paths = copy.deepcopy(told["paths"])  # the file's anchors make parts of it one and the same object
    for address in paths.values():
        address["servers"] = [{"url": settings.GATEWAY_URL}]
        for method in METHODS:
            if method in address:
                address[method]["security"] = [{"key": []}]
    return {"tags": told["tags"], "paths": paths, "components": told["components"]}


@cache
def whole_document() -> dict[str, Any]:
    """Both. Names of components do not meet: those of `/v1` begin with V1."""
    management, v1 = openapi.document(), v1_document()
    components: dict[str, Any] = {kind: dict(named) for kind, named in management["components"].items()}
    for kind, named in v1["components"].items():
        components[kind] = {**components.get(kind, {}), **named}
    text = TEXT.format(gateway=settings.GATEWAY_URL, web=settings.WEB_URL)
    return {
        **management,
        "info": {**management["info"], "title": "Tokia", "description": text + management["info"]["description"]},
        "paths": {**v1["paths"], **management["paths"]},
        "components": components,
        "tags": [*v1["tags"], *management["tags"]],
    }


class _PlainDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Without anchors: not every reader of OpenAPI follows them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@cache
def written() -> str:
    """The whole document as YAML, once per process."""
    return yaml.dump(whole_document(), Dumper=_PlainDumper, allow_unicode=True, sort_keys=False, width=120)
