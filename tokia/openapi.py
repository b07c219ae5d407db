"""The description of `/api/v1`: built from the operations, served at `/api/v1/openapi.json`, kept in `deploy/openapi.yaml`.

`manage.py spectacular --file deploy/openapi.yaml --validate --fail-on-warn` writes the file anew; a house test compares.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import override
from django.views.decorators.http import require_safe

TEXT = """\
Tudo o que o painel faz, para programas: projetos, chaves, equipe, orçamentos, recargas, extrato,
notas fiscais, uso, webhooks.

**Acesso.** `Authorization: Bearer sk-tokia-…`, com uma chave que tenha a permissão (escopo) da operação. A chave age em nome de
quem a criou e nunca pode mais que essa pessoa. No painel vale também a sessão, com o cabeçalho `X-CSRFToken`.

**Dinheiro.** Cada valor vem duas vezes: `…_brl`, texto em reais, exato, com de 2 a 9 casas (`"12.345678901"`), e `…_nanos`,
inteiro em bilionésimos de real. Acima de R$ 9 milhões os nanos passam de 2^53: em JavaScript use o texto. Nos pedidos mande
`…_brl`.

**Datas.** Instantes em ISO 8601 UTC; dias (`AAAA-MM-DD`) e meses são os de America/Sao_Paulo.

**Listas.** `{"data": […], "next_cursor": "…"}`: mande `cursor` com o `next_cursor` recebido até ele vir `null`. O que surge no
meio do caminho não desloca as páginas.

**Erros.** `application/problem+json` (RFC 9457): `code` é estável, `detail` é para gente, `errors` aponta os campos. Campos e
parâmetros desconhecidos são recusados com 400. O que é de outra empresa não existe: 404.

**Repetição.** `Idempotency-Key` em tudo que cria: a mesma chave com o mesmo corpo devolve a mesma resposta por 24 horas
(`Idempotent-Replayed: true`); com outro corpo, 422.

**Limites.** Por chave e minuto, nos cabeçalhos `x-ratelimit-*`; acima deles, 429 com `Retry-After`. Corpo de até 64 KiB.
"""
TAGS = (
    ("Empresa", "Os dados da empresa e a nota fiscal."), ("Projetos", "Partes da empresa, com chaves e orçamentos próprios."),
    ("Chaves", "Chaves de API; o segredo aparece uma vez."), ("Equipe", "Membros e convites."),
    ("Orçamentos", "Limites de gasto por período."), ("Saldo e recargas", "Carteira, PIX, extrato, devoluções."),
    ("Notas fiscais", "NFS-e: situação, XML e PDF."), ("Uso", "Uso somado por dia e cada requisição."),
    ("Preços", "A tabela pública."),
    ("Webhooks", "Avisos assinados aos seus endereços, e os acontecimentos."),
)  # fmt: skip
PATH_PARAMETERS = {
    "key_id": "O id da chave.", "project_id": "O id do projeto.", "member_id": "O id do membro.",
    "invitation_id": "O id do convite.", "budget_id": "O id do orçamento.", "top_up_id": "O id da recarga.",
    "call_id": "O id da requisição: o `x-request-id` de `/v1`.", "hook_id": "O id do webhook.",
    "delivery_id": "O id da entrega.", "event_id": "O id do acontecimento.",
    "model": "O nome do modelo.", "refund_id": "O id da devolução.", "export_id": "O id da exportação.",
    "card_top_up_id": "O id da recarga.", "invoice_id": "O id da nota, nosso: o número dela é outro.",
}  # fmt: skip
# Where a parameter says nothing of its own.
QUERY_PARAMETERS = {
    "model": "Só deste modelo.", "key_id": "Só desta chave.", "project_id": "Só deste projeto.", "provider": "Só deste provedor.",
    "tag": "Só com esta etiqueta.", "status": "Só nesta situação.", "scope": "Só os deste alvo.", "type": "Só deste tipo.",
    "outcome": "Só com este fim.", "limit": "Quantas linhas no máximo.", "group_by": "Por que somar.",
}  # fmt: skip
METHODS = ("get", "post", "put", "patch", "delete")


def finish(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Spectacular's last hook: what the operations can't say one by one."""
    result["info"]["description"] = TEXT
    result["tags"] = [{"name": name, "description": text} for name, text in TAGS]
    result["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "Uma chave de API com a permissão da operação."},
        "session": {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "A sessão do painel, com X-CSRFToken."},
    }
    for address in result["paths"].values():
        for method in METHODS:
            for parameter in address.get(method, {}).get("parameters", ()):
                if "description" not in parameter:
                    texts = PATH_PARAMETERS if parameter["in"] == "path" else QUERY_PARAMETERS
                    parameter["description"] = texts[parameter["name"]]
    return result


@cache
@override(settings.LANGUAGE_CODE)  # one for everybody, whoever's page asked first
def document() -> dict[str, Any]:
    """The whole description, built once per process."""
    from drf_spectacular.generators import SchemaGenerator  # it reads every address: not while they are being read

    built: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return built


@cache
def _written() -> bytes:
    return json.dumps(document(), ensure_ascii=False).encode()


@require_safe
def serve(request: HttpRequest) -> HttpResponse:
    """`/api/v1/openapi.json`, for everybody."""
    return HttpResponse(_written(), content_type="application/json", headers={"Cache-Control": "public, max-age=300"})
