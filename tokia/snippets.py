"""A first call to one model in three programming languages, by what the model does. `{model}`, `{base_url}` and the texts that are
sent are filled in; the key is the environment's."""

from __future__ import annotations

from django.template.loader import render_to_string
from django.utils.translation import gettext as _

_CURL = """\
curl {base_url}{path} \\
  -H "Authorization: Bearer $TOKIA_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{body}'"""
_PYTHON = """\
import os

from openai import OpenAI  # pip install openai

client = OpenAI(base_url="{base_url}", api_key=os.environ["TOKIA_API_KEY"])
{code}"""
_NODE = """\
import OpenAI from "openai"; // npm install openai
{imports}
const client = new OpenAI({{ baseURL: "{base_url}", apiKey: process.env.TOKIA_API_KEY }});
{code}"""
# No SDK of OpenAI's has it.
_PYTHON_RERANK = """\
import os

import httpx  # pip install httpx

reply = httpx.post(
    "{base_url}/rerank",
    headers={{"Authorization": f"Bearer {{os.environ['TOKIA_API_KEY']}}"}},
    json={{
        "model": "{model}",
        "query": "{question}",
        "documents": ["{first}", "{second}"],
    }},
)
print(reply.json()["results"])"""
_NODE_RERANK = """\
const reply = await fetch("{base_url}/rerank", {{
  method: "POST",
  headers: {{ Authorization: `Bearer ${{process.env.TOKIA_API_KEY}}`, "Content-Type": "application/json" }},
  body: JSON.stringify({{
    model: "{model}",
    query: "{question}",
    documents: ["{first}", "{second}"],
  }}),
}});
console.log((await reply.json()).results);"""
_CALLS: dict[str, dict[str, str]] = {
    "embeddings": {
        "path": "/embeddings", "body": '{{"model": "{model}", "input": "{hello}"}}',
        "python": 'reply = client.embeddings.create(model="{model}", input="{hello}")\nprint(len(reply.data[0].embedding))',
        "node": 'const reply = await client.embeddings.create({{ model: "{model}", input: "{hello}" }});\n'
                "console.log(reply.data[0].embedding.length);",
    },
    "images": {
        "path": "/images/generations", "body": '{{"model": "{model}", "prompt": "{drawing}"}}',
        "python": 'import base64\n\nreply = client.images.generate(model="{model}", prompt="{drawing}")\n'
                  'with open("tucano.png", "wb") as file:\n    file.write(base64.b64decode(reply.data[0].b64_json))',
        "imports": 'import {{ writeFileSync }} from "node:fs";\n',
        "node": 'const reply = await client.images.generate({{ model: "{model}", prompt: "{drawing}" }});\n'
                'writeFileSync("tucano.png", Buffer.from(reply.data[0].b64_json, "base64"));',
    },
    "speech": {
        "path": "/audio/speech", "body": '{{"model": "{model}", "voice": "alloy", "input": "{hello}"}}',
        "tail": " --output fala.mp3",
        "python": 'reply = client.audio.speech.create(model="{model}", voice="alloy", input="{hello}")\n'
                  'reply.write_to_file("fala.mp3")',
        "imports": 'import {{ writeFileSync }} from "node:fs";\n',
        "node": 'const reply = await client.audio.speech.create({{ model: "{model}", voice: "alloy", input: "{hello}" }});\n'
                'writeFileSync("fala.mp3", Buffer.from(await reply.arrayBuffer()));',
    },
    "transcriptions": {
        "curl": 'curl {base_url}/audio/transcriptions \\\n  -H "Authorization: Bearer $TOKIA_API_KEY" \\\n'
                '  -F model="{model}" \\\n  -F file=@fala.mp3',
        "python": 'with open("fala.mp3", "rb") as file:\n'
                  '    reply = client.audio.transcriptions.create(model="{model}", file=file)\n'
                  "print(reply.text)",
        "imports": 'import {{ createReadStream }} from "node:fs";\n',
        "node": 'const file = createReadStream("fala.mp3");\n'
                'const reply = await client.audio.transcriptions.create({{ model: "{model}", file }});\n'
                "console.log(reply.text);",
    },
    "moderations": {
        "path": "/moderations", "body": '{{"model": "{model}", "input": "{hello}"}}',
        "python": 'reply = client.moderations.create(model="{model}", input="{hello}")\nprint(reply.results[0].flagged)',
        "node": 'const reply = await client.moderations.create({{ model: "{model}", input: "{hello}" }});\n'
                "console.log(reply.results[0].flagged);",
    },
    "rerank": {
        "path": "/rerank",
        "body": '{{"model": "{model}", "query": "{question}", '
                '"documents": ["{first}", "{second}"]}}',
    },
}  # fmt: skip


def snippets_for(surface: str, *, model: str, base_url: str) -> list[tuple[str, str, str]]:
    """(key of the tab, its label, the text), Python first."""
    values = {
        "model": model, "base_url": base_url, "hello": _("Olá!"), "drawing": _("Um tucano em aquarela"),
        "question": _("Como recarrego por PIX?"), "first": _("Leia o código no app do banco."),
        "second": _("A nota sai no mês seguinte."),
    }  # fmt: skip
    texts: dict[str, str]
    if surface not in _CALLS:
        parts: dict[str, str] = {key: render_to_string(f"parts/call.{key}.txt", values) for key in ("py", "mjs", "sh")}
        texts = {"python": parts["py"], "node": parts["mjs"], "curl": parts["sh"]}
    elif surface == "rerank":
        texts = {"python": _PYTHON_RERANK.format(**values), "node": _NODE_RERANK.format(**values), "curl": _curl(surface, values)}
    else:
        call = _CALLS[surface]
        texts = {
            "python": _PYTHON.format(code=call["python"].format(**values), **values),
            "node": _NODE.format(code=call["node"].format(**values), imports=call.get("imports", "").format(), **values),
            "curl": _curl(surface, values),
        }
    labels = {"python": "Python", "node": "Node", "curl": "curl"}
    return [(key, labels[key], text.strip()) for key, text in texts.items()]


def _curl(surface: str, values: dict[str, str]) -> str:
    call = _CALLS[surface]
    if "curl" in call:
        return call["curl"].format(**values)
    return _CURL.format(path=call["path"], body=call["body"].format(**values), **values) + call.get("tail", "")
