"""The frame of every sandbox page: one layout, one style sheet, no script."""

from __future__ import annotations

from html import escape

CSS = """
:root{--ink:#14211b;--soft:#5a6b62;--line:#dfe6e1;--bg:#f5f8f6;--card:#fff;--brand:#0b7a4b;--brand-ink:#fff;--warn:#8a5a00;
--warn-bg:#fff6e0}
@media (prefers-color-scheme:dark){:root{--ink:#e8efea;--soft:#9fb0a6;--line:#2b3831;--bg:#101713;--card:#18211c;
--brand:#35b37e;--brand-ink:#06130c;--warn:#ffd27a;--warn-bg:#2e2614}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
header{border-bottom:1px solid var(--line);background:var(--card)}
header div,main{max-width:46rem;margin:0 auto;padding:1rem}
header div{display:flex;gap:1.25rem;align-items:baseline;flex-wrap:wrap}
header strong{font-size:1.05rem}
a{color:var(--brand)}
h1{font-size:1.5rem;margin:.5rem 0 .25rem}
h2{font-size:1.1rem;margin:1.75rem 0 .5rem}
p{margin:.5rem 0}
.soft{color:var(--soft);font-size:.9rem}
.notice{background:var(--warn-bg);color:var(--warn);border-radius:.5rem;padding:.6rem .9rem;font-size:.9rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:.75rem;padding:1rem;margin:.75rem 0}
.row{display:flex;gap:1rem;justify-content:space-between;align-items:center;flex-wrap:wrap}
.value{font-size:1.35rem;font-weight:650;font-variant-numeric:tabular-nums}
.code{font:650 2rem/1.2 ui-monospace,monospace;letter-spacing:.2em;margin:.25rem 0;user-select:all}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font:.9rem/1.5 ui-monospace,monospace;margin:.5rem 0}
.button{display:inline-block;border:0;border-radius:.5rem;padding:.7rem 1.2rem;background:var(--brand);color:var(--brand-ink);
font:650 1rem system-ui,sans-serif;text-decoration:none;cursor:pointer}
.button.plain{background:none;color:var(--brand);border:1px solid var(--line)}
label{display:block;font-size:.9rem;color:var(--soft);margin:.5rem 0 .25rem}
input,select{font:inherit;max-width:100%;padding:.6rem .7rem;border:1px solid var(--line);border-radius:.5rem;
background:var(--bg);color:var(--ink)}
:focus-visible{outline:3px solid var(--brand);outline-offset:2px}
dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem;margin:.5rem 0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
"""


def page(*, title: str, body: str, refresh_seconds: int | None = None) -> str:
    """A whole page; `body` is HTML that was already escaped."""
    refresh = f'<meta http-equiv="refresh" content="{refresh_seconds}">' if refresh_seconds else ""
    return f"""<!doctype html>
<html lang="pt-BR">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">{refresh}
<title>{escape(title)} · Sandbox Tokia</title><link rel="stylesheet" href="/style.css"></head>
<body>
<header><div><strong>Sandbox Tokia</strong>
<a href="/inbox/">E-mails</a><a href="/bank/">Banco</a><a href="/stripe/">Stripe</a><a href="/fiscal/">Notas</a>
<a href="/receiver/">Webhooks</a><a href="/">Sobre</a></div></header>
<main>{body}</main>
</body></html>"""


def reais(amount: str) -> str:
    """ "1234.50" → "R$ 1.234,50"."""
    whole, _, cents = amount.partition(".")
    groups = f"{int(whole):,}".replace(",", ".")
    return f"R$ {groups},{cents}"
