"""`python -m tokia.sandbox`: start the outside world on loopback. One line on standard output when all ports listen."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from tokia.sandbox.app import build_world
from tokia.sandbox.certs import ensure_certificates
from tokia.sandbox.fiscal_certs import CA_FILE, SERVER_FILE, ensure_fiscal_certificates
from tokia.sandbox.fiscal_faults import RefusingSocket
from tokia.sandbox.servers import HOST, PortBusy, bind, http_server, serve_until_stopped

EXIT_REFUSED = 2
ENVIRONMENT = """environment:
  SANDBOX_LLM_DELAY_MS       pause before each chunk of a simulated model (default 15; tests: 0)
  SANDBOX_LLM_TYPES          0: do not check requests with the openai and anthropic packages' types
  SANDBOX_MODEL_KEY          the local model server's key (default sandbox-local)
  SANDBOX_REFUND_MS          how long a refund is EM_PROCESSAMENTO (default 1000)
  SANDBOX_PSP_CLIENT_ID      the bank's OAuth2 client (default tokia-sandbox)
  SANDBOX_PSP_CLIENT_SECRET  its secret (default tokia-sandbox-secret)
  STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRETS, STRIPE_HAS_PIX   the sandbox's Stripe, as in Tokia's settings
  PSP_PIX_KEY, RECEIVER_TAX_ID, RECEIVER_NAME, RECEIVER_CITY   who receives, as in Tokia's settings
"""
EXIT_PORT_BUSY = 3


def main() -> int:
    arguments = _parse_arguments()
    if os.environ.get("TOKIA_ENV") == "production":
        print("The sandbox does not run with TOKIA_ENV=production.", file=sys.stderr)  # noqa: T201
        return EXIT_REFUSED
    try:
        asyncio.run(_run(arguments))
    except PortBusy as error:
        print(f"sandbox: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_PORT_BUSY
    # All is closed. Taking the interpreter apart would cost two seconds more, for the providers' published types.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tokia.sandbox",
        description=__doc__,
        epilog=ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--home", type=Path, required=True, help="TOKIA_HOME; the sandbox lives in <home>/sandbox/")
    parser.add_argument("--http-port", type=int, default=8090, help="0 takes a free port")
    parser.add_argument("--psp-port", type=int, default=8091)
    parser.add_argument("--sefin-port", type=int, default=0, help="the tax office's, 8093 at `make up`; by default a free one")
    parser.add_argument("--smtp-port", type=int, default=8025)
    parser.add_argument("--model-url", default="", help="the local model server, e.g. http://127.0.0.1:8092")
    parser.add_argument("--model-key", default=os.environ.get("SANDBOX_MODEL_KEY", "sandbox-local"))
    parser.add_argument("--web-url", default="", help="Tokia's own address, for links")
    parser.add_argument("--pix-key", default=os.environ.get("PSP_PIX_KEY", "7d9f0335-8dcc-4054-9bf9-0dbd61d36906"))
    parser.add_argument("--tax-id", default=os.environ.get("RECEIVER_TAX_ID", "12ABC34501DE35"))
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    folder: Path = arguments.home / "sandbox"
    ensure_certificates(folder)
    ensure_fiscal_certificates(folder, tax_id=arguments.tax_id)
    sefin_listener: RefusingSocket = bind(arguments.sefin_port, name="sefin", kind=RefusingSocket)
    listeners = {
        "http": bind(arguments.http_port, name="http"),
        "psp": bind(arguments.psp_port, name="psp"),
        "smtp": bind(arguments.smtp_port, name="smtp"),
        "sefin": sefin_listener,
    }
    ports = {name: listener.getsockname()[1] for name, listener in listeners.items()}
    world = build_world(
        home=folder,
        web_url=arguments.web_url,
        model_url=arguments.model_url,
        model_key=arguments.model_key,
        pix_key=arguments.pix_key,
        tax_id=arguments.tax_id,
    )
    await world.open()
    sefin_listener.books = world.fiscal.books
    mail = await asyncio.get_running_loop().create_server(world.inbox.smtp_protocol, sock=listeners["smtp"])

    def announce() -> None:
        print(  # noqa: T201
            f"sandbox: http://{HOST}:{ports['http']} psp https://{HOST}:{ports['psp']} smtp {HOST}:{ports['smtp']}"
            f" sefin https://{HOST}:{ports['sefin']}",
            flush=True,
        )

    try:
        await serve_until_stopped(
            [
                (http_server(world.http), listeners["http"]),
                (http_server(world.bank_api, tls_folder=folder), listeners["psp"]),
                (http_server(world.tax_office, tls_folder=folder, names=(SERVER_FILE, CA_FILE)), sefin_listener),
            ],
            on_ready=announce,
            on_stop=world.hurry,
        )
    finally:
        mail.close()
        await world.close()


if __name__ == "__main__":
    sys.exit(main())
