"""What the strict Content-Security-Policy and the language of our customers ask of every template."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from django.template import engines

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
STATIC = ROOT / "tokia" / "static" / "tokia"
COMMENT = re.compile(r"\{#.*?#\}|\{% comment %\}.*?\{% endcomment %\}", re.DOTALL)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_it_has_nothing_inline_and_compiles(path: Path) -> None:
    text = COMMENT.sub("", path.read_text())
    for tag in re.findall(r"<script\b[^>]*>", text):
        assert "src=" in tag, tag
    assert "<style" not in text
    if path.parent.name != "email":  # mail programs know no style sheet of ours, and no policy
        assert not re.search(r"\sstyle=", text)
    assert not re.search(r"\son[a-z]+=", text)
    assert "hx-on" not in text and "javascript:" not in text
    assert "|safe" not in text and "autoescape off" not in text
    assert not re.search(r"""(src=|<link[^>]*href=)["'](https?:)?//""", text), "everything that a page loads is served from here"
    engines["django"].from_string(path.read_text())


def test_it_vendors_libraries_as_their_checksums_say() -> None:
    vendor = STATIC / "vendor"
    listed = {line[66:]: line[:64] for line in (vendor / "CHECKSUMS").read_text().splitlines()}
    found = {f"./{path.relative_to(vendor)}" for path in vendor.rglob("*") if path.is_file() and path.name != "CHECKSUMS"}
    assert found == set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest, name
    for folder in vendor.iterdir():
        assert folder.is_file() or (folder / "LICENSE").exists(), folder


def test_it_maps_no_source_that_is_not_served() -> None:
    for path in [*STATIC.rglob("*.js"), STATIC / "app.css"]:
        assert "sourceMappingURL" not in path.read_text(), path


def test_it_has_the_styles_that_the_templates_ask_for() -> None:
    css = (STATIC / "app.css").read_text()
    for name in ("panel", "muted", "num", "code-box", "btn", "menu-active", "drawer", "table", "alert-soft"):
        assert f".{name}" in css, name
    assert "prefers-color-scheme:dark" in css and "prefers-reduced-motion" in css
