"""What search engines and link previews read of a page: its address, its texts said twice, and data blocks (`{% load meta %}`)."""

from __future__ import annotations

import json
from typing import Any

from django import template
from django.conf import settings
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

register = template.Library()
# `json_script`'s: nothing in a string can end the element.
_ESCAPES = {ord(">"): "\\u003E", ord("<"): "\\u003C", ord("&"): "\\u0026"}


class _KeptNode(template.Node):
    def __init__(self, name: str, nodelist: template.NodeList) -> None:
        self.name, self.nodelist = name, nodelist

    def render(self, context: template.Context) -> str:
        context[self.name] = mark_safe(" ".join(self.nodelist.render(context).split()))  # noqa: S308 - rendered, so escaped already
        return ""


@register.tag
def keep(parser: template.base.Parser, token: template.base.Token) -> _KeptNode:
    """`{% keep name %}…{% endkeep %}`: what is inside (blocks too, which no page can say twice) becomes a variable."""
    _, name = token.split_contents()
    nodelist = parser.parse(("endkeep",))
    parser.delete_first_token()
    return _KeptNode(name, nodelist)


@register.simple_tag(takes_context=True)
def canonical(context: template.Context) -> str:
    """The page's one address: without a query, on our own host. `canonical_path` of the context, else the request's path."""
    request = context.get("request")
    path = context.get("canonical_path") or (request.path if request is not None else "")
    return f"{settings.WEB_URL}{path}" if path else ""


@register.simple_tag
def web_url(path: str) -> str:
    """An address of ours as others may fetch it."""
    return f"{settings.WEB_URL}{path}"


@register.simple_tag
def json_ld(data: Any) -> SafeString:
    """A data block of schema.org's words; no script, so the policy of the pages lets it be."""
    text = json.dumps(data, ensure_ascii=False).translate(_ESCAPES)
    return format_html('<script type="application/ld+json">{}</script>', mark_safe(text))  # noqa: S308 - escaped above
