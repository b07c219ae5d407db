"""Every example of the documentation runs: Python, Node and curl against a whole running stack, Go, Ruby and PHP by their grammar.

The pages' examples are what customers copy, so nothing of them is changed but the addresses.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import tree_sitter_go
import tree_sitter_php
import tree_sitter_ruby
from tree_sitter import Language, Node, Parser

from accounts.scopes import SCOPES
from billing.hook_secrets import mint_secret, sign
from tests.conftest import Stack
from tests.docs.snippets import PARSED_ONLY, ROOT, Snippet, by_page, fill, node_module, snippets
from tokia import clock
from tokia.docs import values

GRAMMARS = {"go": tree_sitter_go.language, "ruby": tree_sitter_ruby.language, "php": tree_sitter_php.language_php}
NODE_MODULES = ROOT / "tests" / "gateway" / "node" / "node_modules"
CURL = 'curl() { command curl --silent --show-error --fail-with-body --max-time 30 "$@"; }\n'
AT_ONCE = 6  # two cores: most of the time is the sandbox's, which answers at the pace of a model


@pytest.fixture(scope="module")
def addresses(stack: Stack) -> dict[str, str]:
    gateway = stack.demo["base_url"].removesuffix("/v1")
    return {**values(), "base_url": stack.demo["base_url"], "gateway_url": gateway, "web_url": stack.demo["web_url"]}


@pytest.fixture(scope="module")
def environment(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The demo's key, with every scope for as long as the examples run, and a place of their own for what they write."""
    digest = hashlib.sha256(stack.demo["api_key"].encode()).digest()
    with psycopg.connect(stack.env["DATABASE_URL"], autocommit=True) as connection:
        [(scopes,)] = connection.execute("SELECT scopes FROM accounts_apikey WHERE key_hash = %s", (digest,)).fetchall()
        give = "UPDATE accounts_apikey SET scopes = %s WHERE key_hash = %s"
        connection.execute(give, (list(SCOPES), digest))
        place = {"TMPDIR": str(tmp_path_factory.mktemp("examples"))}
        yield {**os.environ, **place, "TOKIA_API_KEY": stack.demo["api_key"], "NO_PROXY": "127.0.0.1,localhost"}
        connection.execute(give, (scopes, digest))


def test_it_runs_the_python_examples(addresses: dict[str, str], environment: dict[str, str], tmp_path: Path) -> None:
    pages = {page: [[str(one), fill(one.code, addresses)] for one in found] for page, found in by_page("python").items()}
    ran = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "docs" / "run_python.py"), str(AT_ONCE)], input=json.dumps(pages), cwd=tmp_path,
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-6000:]
    assert ran.stdout.count("──") == sum(map(len, pages.values())) >= 35


@pytest.mark.node
def test_it_runs_the_node_examples(addresses: dict[str, str], environment: dict[str, str], tmp_path: Path) -> None:
    assert NODE_MODULES.is_dir(), "`npm ci` in tests/gateway/node, or `make test`, which does it"
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    pages = by_page("node")
    for page, found in pages.items():
        (tmp_path / f"{page}.mjs").write_text(node_module([fill(one.code, addresses) for one in found]))
    shutil.copy(ROOT / "tests" / "docs" / "run_node.mjs", tmp_path / "run_node.mjs")
    ran = subprocess.run(
        ["node", "run_node.mjs", str(AT_ONCE), *pages], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-6000:]
    assert ran.stdout.count("──") == len(pages) >= 25


@pytest.mark.curl
def test_it_runs_the_curl_examples(addresses: dict[str, str], environment: dict[str, str], tmp_path: Path) -> None:
    assert shutil.which("curl"), "Debian's curl is not installed: apt-get install curl"
    found = list(snippets("curl"))

    def run(one: Snippet) -> str:
        folder = tmp_path / f"{one.page}-{one.number}"
        folder.mkdir()
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", CURL + fill(one.code, addresses)], cwd=folder, env=environment, capture_output=True,
            timeout=90, check=False,
        )  # fmt: skip
        told = (ran.stdout + ran.stderr).decode(errors="replace")[-2000:]
        return "" if ran.returncode == 0 else f"{one}: {told}\n{one.code}"

    with ThreadPoolExecutor(AT_ONCE) as threads:
        failed = [told for told in threads.map(run, found) if told]
    assert failed == []
    assert len(found) >= 30


def test_it_tells_a_forged_webhook_from_ours_in_python() -> None:
    [example] = [one for one in snippets("python") if one.page == "webhooks"]
    names: dict[str, Any] = {}
    exec(compile(example.code, str(example), "exec"), names)
    secret, body, headers = signed_message()
    is_ours = names["is_from_tokia"]
    assert is_ours(secret, headers, body)
    rotated = {**headers, "webhook-signature": f"v1,{base64.b64encode(bytes(32)).decode()} {headers['webhook-signature']}"}
    assert is_ours(secret, rotated, body)
    assert not is_ours(secret, headers, body + b" ")
    assert not is_ours(mint_secret(), headers, body)
    assert not is_ours(secret, {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 600)}, body)


@pytest.mark.node
def test_it_tells_a_forged_webhook_from_ours_in_node(tmp_path: Path) -> None:
    [example] = [one for one in snippets("node") if one.page == "webhooks"]
    secret, body, headers = signed_message()
    (tmp_path / "hook.mjs").write_text(example.code)
    told = json.dumps([secret, mint_secret(), headers, body.decode()])
    (tmp_path / "check.mjs").write_text(
        'import { isFromTokia } from "./hook.mjs";\n'
        f"const [secret, other, headers, body] = {told};\n"
        "const old = { ...headers, 'webhook-timestamp': String(headers['webhook-timestamp'] - 600) };\n"
        "console.log(JSON.stringify([isFromTokia(secret, headers, body), isFromTokia(secret, headers, body + ' '),"
        " isFromTokia(other, headers, body), isFromTokia(secret, old, body)]));\n"
    )
    ran = subprocess.run(["node", "check.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(ran.stdout) == [True, False, False, False]


def signed_message() -> tuple[str, bytes, dict[str, str]]:
    secret, body, timestamp = mint_secret(), '{"type":"ping","data":{"a":"ç"}}'.encode(), int(clock.now().timestamp())
    signature = sign(secret, message_id="msg_1", timestamp=timestamp, body=body)
    return secret, body, {"webhook-id": "msg_1", "webhook-timestamp": str(timestamp), "webhook-signature": signature}


@pytest.mark.parametrize("language", GRAMMARS)
def test_it_writes_examples_that_parse(language: str) -> None:
    found = list(snippets(language))
    assert len(found) >= 3
    parser = Parser(Language(GRAMMARS[language]()))
    for one in found:
        tree = parser.parse(fill(one.code, dict(values())).encode())
        assert not tree.root_node.has_error, f"{one}: {list(faults_in(tree.root_node))}"


def faults_in(node: Node) -> Iterator[str]:
    if node.is_error or node.is_missing:
        yield f"line {node.start_point.row + 1}: {node.type}"
    for child in node.children:
        yield from faults_in(child)


def test_it_compiles_what_it_does_not_run() -> None:
    for page, language, number in PARSED_ONLY:
        [one] = [one for one in snippets(language) if (one.page, one.number) == (page, number)]
        compile(fill(one.code, dict(values())), str(one), "exec")


def test_it_shows_json_that_is_json() -> None:
    for one in snippets("json"):
        json.loads(one.code)


def test_it_names_only_models_of_the_catalog() -> None:
    catalog = tomllib.loads((ROOT / "gateway" / "catalog.toml").read_text(encoding="utf-8"))
    known = {row["name"] for row in (*catalog["routes"], *catalog["rules"])} | {
        alias for row in catalog["routes"] for alias in row.get("aliases", ())
    }
    for one in snippets():
        for name in models_in(one.code):
            assert name.partition(":")[0] in known or name == "nao/existe", f"{one}: {name}"


def models_in(code: str) -> Iterator[str]:
    """What stands where a model's name does, in any of the languages."""
    yield from re.findall(r"""\b(?:model|Model|modelId|ANTHROPIC_MODEL)["']?\s*(?::|=>|=)\s*["']([^"'{}]+)["']""", code)
    yield from re.findall(r"ANTHROPIC_MODEL=(\S+)", code)
    for listed in re.findall(r"""["']?models["']?\s*:\s*\[([^\]]*)\]""", code):
        yield from re.findall(r"""["']([^"']+)["']""", listed)
