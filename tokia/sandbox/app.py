"""The sandbox's map: which path belongs to which room, and the ASGI apps: plain HTTP, and the mTLS ports of bank and tax office."""

from __future__ import annotations

import os
from dataclasses import dataclass
from html import escape
from pathlib import Path

from tokia.sandbox import pages
from tokia.sandbox.asgi import (
    BadJson,
    BodyTooLarge,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    html_response,
    json_response,
    read_request,
)
from tokia.sandbox.bank import Bank
from tokia.sandbox.bank_pages import BankPages
from tokia.sandbox.cnpj import Registry
from tokia.sandbox.fiscal import Fiscal
from tokia.sandbox.hooks import Courier
from tokia.sandbox.inbox import Inbox
from tokia.sandbox.llm import Llm
from tokia.sandbox.olinda import Olinda
from tokia.sandbox.psp import Psp
from tokia.sandbox.receiver import Receiver
from tokia.sandbox.store import Store
from tokia.sandbox.stripe import Stripe
from tokia.sandbox.stripe_books import Books
from tokia.sandbox.stripe_control import StripeControl
from tokia.sandbox.stripe_hooks import StripeCourier
from tokia.sandbox.stripe_pages import StripePages
from tokia.sandbox.stripe_payments import Payments
from tokia.sandbox.stripe_sessions import Sessions


@dataclass
class World:
    """Every room of the sandbox, wired."""

    store: Store
    bank: Bank
    courier: Courier
    psp: Psp
    bank_pages: BankPages
    olinda: Olinda
    registry: Registry
    inbox: Inbox
    receiver: Receiver
    llm: Llm
    stripe: Stripe
    fiscal: Fiscal
    web_url: str

    async def open(self) -> None:
        self.courier.open()
        self.stripe.open()
        await self.llm.open()
        self.fiscal.open()
        self.bank.resume()

    def hurry(self) -> None:
        """We are about to stop: nobody waits any longer."""
        self.llm.hurry()
        self.fiscal.hurry()

    async def close(self) -> None:
        await self.courier.close()
        await self.stripe.close()
        await self.llm.close()
        await self.fiscal.close()
        self.store.close()

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app of the plain HTTP port."""
        if scope["type"] != "http":
            return
        try:
            request = await read_request(scope, receive, send)
        except BodyTooLarge:
            await Request("", "", "", {}, b"", scope, receive, send).answer(_message(413, "corpo grande demais"))
            return
        if request.path.startswith("/llm/"):
            await self.llm.serve(request)
            return
        if request.path.startswith(("/focus/", "/cep/")):
            await self.fiscal.serve_plain(request)
            return
        try:
            response = await self._dispatch(request)
        except (BadJson, ValueError, KeyError, TypeError) as error:
            # Only the control endpoints read free-form JSON here: a bad one is the caller's slip.
            response = _message(400, f"{type(error).__name__}: {error}")
        await request.answer(response)

    async def bank_api(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app of the mTLS port."""
        if scope["type"] == "http":
            await self.psp.serve(await read_request(scope, receive, send))

    async def tax_office(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app of Sefin's mTLS port."""
        if scope["type"] == "http":
            await self.fiscal.sefin.serve(await read_request(scope, receive, send))

    async def _dispatch(self, request: Request) -> Response:
        path = request.path
        if path.startswith("/inbox"):
            return await self.inbox.serve(request)
        if path == "/receiver" or path.startswith("/receiver/"):
            return await self.receiver.serve(request)
        if path.startswith("/bank"):
            return await self.bank_pages.serve(request)
        if path == "/stripe" or path.startswith("/stripe/"):
            return await self.stripe.serve(request)
        if path == "/fiscal" or path.startswith("/fiscal/"):
            return self.fiscal.pages.serve(request)
        if path.startswith("/olinda/"):
            return await self.olinda.serve(request)
        if path.startswith("/cnpj/"):
            return await self.registry.serve(request)
        if path == "/style.css":
            headers = {"cache-control": "max-age=60"}
            return Response(body=pages.CSS.encode(), content_type="text/css; charset=utf-8", headers=headers)
        if path == "/healthz":
            model = "real" if await self.llm.local.is_alive() else "simulated"
            return json_response({"status": "ok", "model": model, "types": self.llm.types.loaded()})
        if path == "/":
            return html_response(await self._index_page())
        return html_response(pages.page(title="Não encontrado", body="<h1>Página não encontrada</h1>"), status=404)

    async def _index_page(self) -> str:
        is_real = await self.llm.local.is_alive()
        model = "um modelo de verdade, pequeno, nesta máquina" if is_real else "uma simulação (o modelo local não está ativo)"
        rooms = (
            ("/inbox/", "E-mails", "tudo o que a Tokia envia"),
            ("/bank/", "Banco", "pague as cobranças PIX, com dinheiro de mentira"),
            ("/stripe/", "Stripe", "os pagamentos por cartão, com cartões de teste"),
            ("/fiscal/", "Notas fiscais", "o emissor nacional da NFS-e: as notas emitidas, com um cancelamento por fora"),
            ("/receiver/", "Webhooks", "o que a Tokia envia ao sistema de um cliente"),
            ("/llm/__ledger", "Provedores de LLM", "o que cada provedor serviu e cobraria (JSON)"),
            ("/cnpj/12ABC34501DE35", "CNPJ", "consulta de empresas (JSON)"),
            ("/cep/30130010/json/", "CEP", "consulta de endereços (JSON)"),
        )
        items = "".join(
            f'<div class="card"><a href="{url}"><strong>{name}</strong></a><div class="soft">{text}</div></div>'
            for url, name, text in rooms
        )
        home = f'<p><a href="{escape(self.web_url, quote=True)}">Abrir a Tokia</a></p>' if self.web_url else ""
        body = (
            "<h1>O mundo lá fora, nesta máquina</h1>"
            "<p>O sandbox faz o papel do banco, do Banco Central, da Receita, do emissor de notas, do correio e dos provedores "
            "de LLM. "
            f"Nada sai desta máquina. Em <code>local</code> responde {model}.</p>{home}{items}"
        )
        return pages.page(title="Sobre", body=body)


def build_world(*, home: Path, web_url: str, model_url: str, model_key: str, pix_key: str, tax_id: str) -> World:
    """Wire the rooms over the folder `home` (certificates and the store live there)."""
    store = Store(home / "sandbox.sqlite")
    bank = Bank(
        store=store,
        pix_key=pix_key,
        tax_id=tax_id,
        name=os.environ.get("RECEIVER_NAME", "Tokia Tecnologia Ltda"),
        city=os.environ.get("RECEIVER_CITY", "SAO PAULO"),
        refund_seconds=float(os.environ.get("SANDBOX_REFUND_MS", "1000")) / 1000,
    )
    courier = Courier(bank=bank, folder=home)
    psp = Psp(
        bank=bank,
        courier=courier,
        client_id=os.environ.get("SANDBOX_PSP_CLIENT_ID", "tokia-sandbox"),
        client_secret=os.environ.get("SANDBOX_PSP_CLIENT_SECRET", "tokia-sandbox-secret"),
    )
    return World(
        store=store,
        bank=bank,
        courier=courier,
        psp=psp,
        bank_pages=BankPages(bank=bank, courier=courier),
        olinda=Olinda(),
        registry=Registry(),
        inbox=Inbox(store=store),
        receiver=Receiver(store=store),
        llm=Llm.from_environment(model_url=model_url, model_key=model_key),
        stripe=_build_stripe(store, web_url=web_url),
        fiscal=Fiscal.build(store=store, folder=home, names={tax_id: bank.name}, web_url=web_url),
        web_url=web_url,
    )


def _build_stripe(store: Store, *, web_url: str) -> Stripe:
    books = Books(
        store=store,
        has_pix=os.environ.get("STRIPE_HAS_PIX", "").lower() in ("1", "true", "yes", "on"),
        refund_seconds=float(os.environ.get("SANDBOX_REFUND_MS", "1000")) / 1000,
    )
    payments = Payments(books)
    sessions = Sessions(books, payments)
    courier = StripeCourier(
        books,
        url=f"{web_url}/webhooks/stripe/" if web_url else "",
        secret=os.environ.get("STRIPE_WEBHOOK_SECRETS", "whsec_tokia_sandbox_0123456789abcdef").split(",")[0],
    )
    return Stripe(
        books=books,
        payments=payments,
        sessions=sessions,
        courier=courier,
        control=StripeControl(books, payments, sessions, courier),
        pages=StripePages(books, payments, sessions),
        secret_key=os.environ.get("STRIPE_SECRET_KEY") or "sk_test_tokia_sandbox",
    )


def _message(status: int, text: str) -> Response:
    return json_response({"error": text}, status=status)
