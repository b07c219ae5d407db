"""Sockets, TLS and signals: the listeners in one event loop, on loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tokia.sandbox.asgi import TRANSPORT_EXTENSION

HOST = "127.0.0.1"
GRACE_SECONDS = 1
NO_CHECK_TIME = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for


class PortBusy(Exception):
    """A port that we need is taken."""


class TransportProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 that lets the app see its connection: faults break HTTP itself, the bank reads certificates."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT_EXTENSION: {"transport": self.transport}}


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to `serve_until_stopped`, because it does not run alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A TLS peer that keeps an idle connection would make us wait for its goodbye.
        for connection in list(self.server_state.connections):
            if isinstance(connection, TransportProtocol) and (connection.cycle is None or connection.cycle.response_complete):
                connection.transport.abort()
        await super().shutdown(sockets)


def bind(port: int, *, name: str, kind: type[socket.socket] = socket.socket) -> Any:
    """A listening socket, of `kind`, on loopback; port 0 takes a free one. Raises PortBusy."""
    # asyncio sets TCP_NODELAY only where the protocol is named; without it every answer waits 40 ms for an acknowledgement.
    listener = kind(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise PortBusy(f"port {port} ({name}) is busy: {error.strerror}") from error
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def http_server(app: Any, *, tls_folder: Path | None = None, names: tuple[str, str] | None = None) -> Server:
    """A uvicorn server; with `tls_folder` it asks every client for a certificate of our authority.

    `names` make it the tax office's: the files there of its key and certificate, and of the authority whose clients it admits.
    """
    tls: dict[str, Any] = {}
    if tls_folder is not None:
        certificate, authority = names or ("server.pem", "ca.pem")
        tls = {
            "ssl_certfile": str(tls_folder / certificate),
            "ssl_ca_certs": str(tls_folder / authority),
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
        }
    config = uvicorn.Config(
        app,
        http=TransportProtocol,
        interface="asgi3",
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=2048,
        **tls,
    )
    if names is not None:
        config.load()
        assert config.ssl is not None
        config.ssl.set_alpn_protocols(["http/1.1"])  # Sefin speaks nothing newer
        # A certificate that ended is told so in HTTP (403), as the tax office does: not by a handshake that fails.
        config.ssl.verify_flags |= NO_CHECK_TIME
    return Server(config)


async def serve_until_stopped(
    pairs: list[tuple[Server, socket.socket]], *, on_ready: Callable[[], None], on_stop: Callable[[], None]
) -> None:
    """Run the servers until SIGTERM or SIGINT. `on_ready` is called once when all listen, `on_stop` before they end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(server.serve(sockets=[listener])) for server, listener in pairs]
    while not all(server.started for server, _ in pairs):
        await asyncio.sleep(0.01)
        if any(task.done() for task in tasks):
            stop.set()
            break
    else:
        on_ready()
    await stop.wait()
    on_stop()
    for server, _ in pairs:
        server.should_exit = True
    await asyncio.gather(*tasks)
