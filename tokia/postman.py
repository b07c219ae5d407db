"""An OpenAPI document as a Postman collection (format v2.1.0). Pure."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import Any
from urllib.parse import urlsplit

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
METHODS = ("get", "post", "put", "patch", "delete")
_PATH_PARAMETER = re.compile(r"\{(\w+)\}")
Json = dict[str, Any]


def write_collection(document: Json, *, web_url: str, gateway_url: str) -> Json:
    """A folder per tag, a request per operation, bodies from the first example. Variables: baseUrl, gatewayUrl, apiKey."""
    folders: dict[str, list[Json]] = defaultdict(list)
    for path, address in document["paths"].items():
        for method in METHODS:
            if method in address:
                operation = address[method]
                base = "gatewayUrl" if address.get("servers") else "baseUrl"
                parameters = [*address.get("parameters", ()), *operation.get("parameters", ())]
                request = _request(document, path, method, operation, parameters, base=base)
                folders[operation["tags"][0]].append({"name": operation["summary"], "request": request})
    known = [tag["name"] for tag in document["tags"]]
    return {
        "info": {"name": "Tokia", "schema": SCHEMA, "description": document["info"]["description"]},
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{apiKey}}", "type": "string"}]},
        "variable": [
            {"key": "gatewayUrl", "value": gateway_url}, {"key": "baseUrl", "value": web_url}, {"key": "apiKey", "value": ""},
        ],
        "item": [{"name": name, "item": folders[name]} for name in known if folders[name]],
    }  # fmt: skip


def _request(document: Json, path: str, method: str, operation: Json, parameters: list[Json], *, base: str) -> Json:
    found = [_resolve(document, parameter) for parameter in parameters]
    headers = [_line(parameter, is_off=True) for parameter in found if parameter["in"] == "header"]
    request: Json = {"method": method.upper(), "url": _url(path, found, base=base), "description": operation["description"]}
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        headers.insert(0, {"key": "Content-Type", "value": "application/json"})
        text = json.dumps(_example(content["application/json"]), ensure_ascii=False, indent=2)
        request["body"] = {"mode": "raw", "raw": text, "options": {"raw": {"language": "json"}}}
    elif "multipart/form-data" in content:
        schema = _resolve(document, content["multipart/form-data"]["schema"])
        request["body"] = {"mode": "formdata", "formdata": [_form_field(name, schema) for name in schema["properties"]]}
    request["header"] = headers
    if operation.get("security") in ([], [{}]):
        request["auth"] = {"type": "noauth"}
    return request


def _url(path: str, parameters: list[Json], *, base: str) -> Json:
    segments = _PATH_PARAMETER.sub(r":\1", path).strip("/").split("/")
    url: Json = {"raw": f"{{{{{base}}}}}/{'/'.join(segments)}", "host": [f"{{{{{base}}}}}"], "path": segments}
    if query := [_line(parameter, is_off=not parameter.get("required")) for parameter in parameters if parameter["in"] == "query"]:
        url["query"] = query
    if names := _PATH_PARAMETER.findall(path):
        texts = {parameter["name"]: parameter.get("description", "") for parameter in parameters}
        url["variable"] = [{"key": name, "value": "", "description": texts.get(name, "")} for name in names]
    return url


def _line(parameter: Json, *, is_off: bool) -> Json:
    return {"key": parameter["name"], "value": "", "description": parameter.get("description", ""), "disabled": is_off}


def _example(content: Json) -> Any:
    examples = content.get("examples", {})
    return next(iter(examples.values()))["value"] if examples else {}


def _form_field(name: str, schema: Json) -> Json:
    described = schema["properties"][name]
    is_file = "binary" in (described.get("format"), described.get("items", {}).get("format"))
    value: Json = {"src": []} if is_file else {"value": str(described.get("enum", [""])[0])}
    is_off = name not in schema.get("required", ())
    return {"key": name, "type": "file" if is_file else "text", **value, "disabled": is_off}


def _resolve(document: Json, part: Json) -> Json:
    while "$ref" in part:
        found: Any = document
        for name in urlsplit(part["$ref"]).fragment.strip("/").split("/"):
            found = found[name]
        part = found
    return part
