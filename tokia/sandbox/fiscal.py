"""The tax office and its neighbours, wired: Sefin and ADN behind TLS; Focus, CEP, pages and control on the plain port."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tokia.sandbox.asgi import BadJson, Request, json_response
from tokia.sandbox.cep import Cep
from tokia.sandbox.fiscal_books import SETTINGS, FiscalBooks
from tokia.sandbox.fiscal_control import FiscalControl
from tokia.sandbox.fiscal_faults import Breaker
from tokia.sandbox.fiscal_pages import FiscalPages
from tokia.sandbox.focus import Focus
from tokia.sandbox.sefin import Sefin
from tokia.sandbox.sefin_adn import Adn
from tokia.sandbox.sefin_note import Seal
from tokia.sandbox.store import Store


@dataclass
class Fiscal:
    books: FiscalBooks
    breaker: Breaker
    sefin: Sefin
    focus: Focus
    cep: Cep
    pages: FiscalPages

    @classmethod
    def build(cls, *, store: Store, folder: Path, names: dict[str, str], web_url: str) -> Fiscal:
        """Over the store and the certificates in `folder`; `names` of issuers by their CNPJ; Tokia's address, for Focus' hook."""
        secret = os.environ.get("FOCUS_WEBHOOK_SECRET", "sandbox-focus-secret-0123456789abcdef")  # as in Tokia's settings
        hook = {"url": f"{web_url}/webhooks/focus/", "authorization": secret} if web_url else {}
        books = FiscalBooks(store=store, names=names, defaults={**SETTINGS, "focus_hook": hook})
        breaker = Breaker(books)
        sefin = Sefin(books=books, seal=Seal.load(folder), breaker=breaker, adn=Adn(books, breaker))
        focus = Focus(books=books, sefin=sefin, breaker=breaker)
        control = FiscalControl(books=books, sefin=sefin, focus=focus)
        return cls(books, breaker, sefin, focus, Cep(books, breaker), FiscalPages(books, control))

    def open(self) -> None:
        self.focus.open()

    def hurry(self) -> None:
        self.breaker.hurry()

    async def close(self) -> None:
        await self.focus.close()

    async def serve_plain(self, request: Request) -> None:
        """`/focus/…` and `/cep/…`, which may be cut off instead of answered."""
        room = self.focus if request.path.startswith("/focus/") else self.cep
        try:
            response = await room.serve(request)
        except (BadJson, ValueError, KeyError, TypeError) as error:
            response = json_response({"codigo": "requisicao_invalida", "mensagem": str(error)}, status=400)
        if response is not None:
            await request.answer(response)
