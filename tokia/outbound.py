"""Calls to addresses that customers chose: never into our own network.

The name is looked up once, every address found is checked, and the connection goes to a checked address, with the name in Host,
SNI and the certificate's check. So an answer of DNS that changes on a second look-up changes nothing: there is none. Redirects are
answers, not followed; proxies of the environment are not used; time, and the bytes read of an answer, have an end.

https on port 443 only. In the sandbox also http on port 80, and the receivers on loopback that OUTBOUND_LOOPBACK names
("127.0.0.1:9000"), so that all of this can be tried for real.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import urlsplit

import httpx
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from tokia.errors import TokiaError

URL_MAX = 500
TOTAL_SECONDS = 15.0  # look-up, connection, request and answer together
CONNECT_SECONDS = 5.0
BODY_SECONDS = 3.0
ANSWER_BYTES_MAX = 65_536  # read, then the connection is closed
EXCERPT_BYTES = 2_048  # kept of an answer
ADDRESSES_TRIED = 2
_V6_UNICAST = ipaddress.ip_network("2000::/3")
_6TO4 = ipaddress.ip_network("2002::/16")
_6TO4_RELAYS = ipaddress.ip_network("192.88.99.0/24")
_PORTS = {"https": 443, "http": 80}
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)
_INSIDE = gettext_noop("Este endereço não é público: aponta para uma rede interna ou reservada.")
# A delivery keeps these words; a page tells them in its reader's language (`billing.kept_texts`).
NO_ANSWER = gettext_noop("Sem resposta em {seconds} segundos.")
_NOT_FOUND = gettext_noop("Não encontramos este endereço na internet.")
_BAD_CERTIFICATE = gettext_noop("O certificado TLS do endereço não vale.")
_NO_CONNECTION = gettext_noop("O endereço recusou a conexão.")
_NOT_HTTP = gettext_noop("A conexão caiu, ou a resposta não era HTTP.")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(TokiaError):
    """We don't call this address; `message` says why, for the customer."""

    code = "address_refused"
    status = 400


@dataclass(frozen=True, slots=True)
class Target:
    """An address as it was written, taken apart."""

    scheme: str
    host: str  # as DNS knows it: lower case, punycode; an IPv6 address without brackets
    port: int
    path: str  # with its query

    @property
    def authority(self) -> str:
        """What Host says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def is_receiver(self) -> bool:
        """One of the sandbox's receivers on loopback."""
        return not settings.IS_PRODUCTION and f"{self.host}:{self.port}" in settings.OUTBOUND_LOOPBACK


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One POST."""

    url: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it: a status, or an error in words for the customer."""

    status: int | None
    excerpt: str
    error: str
    elapsed_ms: int

    @property
    def is_taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300 and not self.error


def parse_url(url: str) -> Target:
    """The target of an address that we may call as far as it says itself. Raises AddressRefused.

    A name is not looked up here: where it leads is checked at each call.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").rstrip(".")
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except ValueError:
        raise AddressRefused(_("Este endereço não é uma URL."), param="url") from None
    has_odd = any(ord(character) <= 32 or ord(character) == 127 for character in url)
    if len(url) > URL_MAX or has_odd or not (_NAME.fullmatch(host) or _literal(host)):
        raise AddressRefused(_("Este endereço não é uma URL."), param="url")
    if parts.username is not None or parts.password is not None:
        refusal = _("Deixe usuário e senha fora da URL: a assinatura de cada chamada já diz que ela é nossa.")
        raise AddressRefused(refusal, param="url")
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise AddressRefused(_("Use um endereço que comece com https://."), param="url")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = Target(scheme=scheme, host=host, port=_PORTS[scheme] if port is None else port, path=path)
    if target.is_receiver:
        return target
    if scheme == "http" and settings.IS_PRODUCTION:
        raise AddressRefused(_("Use um endereço que comece com https://."), param="url")
    if target.port != _PORTS[scheme]:
        raise AddressRefused(_("Use a porta 443, a de https."), param="url")
    literal = _literal(host)
    if literal is not None and not is_public(literal):
        raise AddressRefused(_(_INSIDE), param="url")
    if literal is None and ("." not in host or host.endswith((".localhost", ".local", ".internal"))):
        raise AddressRefused(_(_INSIDE), param="url")
    return target


def _literal(host: str) -> Address | None:
    """The address that a host is, in any form that the system's resolver reads as one (`127.1`, `0x7f.1`, `2130706433`)."""
    try:
        return ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def is_public(address: Address) -> bool:
    """Of the internet at large: no private, loopback, link-local, shared, reserved or multicast range, nor one of those inside a
    mapped, 6to4, Teredo or NAT64 address."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and not address.is_reserved and address not in _6TO4_RELAYS
    return address.is_global and address in _V6_UNICAST and address not in _6TO4 and not address.is_multicast


def check_addresses(target: Target, found: Iterable[str]) -> list[str]:
    """All that the name leads to, where all of it may be called. Raises AddressRefused: one inner address among them is enough."""
    addresses = [ipaddress.ip_address(text.split("%", 1)[0]) for text in dict.fromkeys(found)]
    if not addresses:
        raise AddressRefused(_(_NOT_FOUND), param="url")
    for address in addresses:
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        is_allowed = (mapped or address).is_loopback if target.is_receiver else is_public(address)
        if not is_allowed:
            raise AddressRefused(_(_INSIDE), param="url")
    return [str(address) for address in addresses]


async def look_up(host: str, port: int) -> list[str]:
    """The one look-up of a call."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


@cache
def _tls() -> ssl.SSLContext:
    context = httpx.create_ssl_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def send_all(calls: list[Outgoing]) -> list[Answer]:
    """Make all the POSTs at once; each has its answer, in the calls' sequence, within TOTAL_SECONDS. Raises nothing of theirs."""

    async def run() -> list[Answer]:
        return list(await asyncio.gather(*(_send(call) for call in calls)))

    return asyncio.run(run()) if calls else []


def send(call: Outgoing) -> Answer:
    return send_all([call])[0]


async def _send(call: Outgoing) -> Answer:
    begun = time.monotonic()
    status: int | None = None
    excerpt, error = "", ""
    try:
        async with asyncio.timeout(TOTAL_SECONDS):
            status, excerpt = await _post(call)
    except AddressRefused as refusal:
        error = refusal.message
    except (TimeoutError, httpx.TimeoutException):
        error = NO_ANSWER.format(seconds=f"{TOTAL_SECONDS:.0f}")
    except OSError:  # of the look-up
        error = _NOT_FOUND
    except (httpx.ConnectError, ssl.SSLError) as failure:
        is_tls = "CERTIFICATE" in str(failure) or "SSL" in str(failure)
        error = _BAD_CERTIFICATE if is_tls else _NO_CONNECTION
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        error = _NOT_HTTP
    return Answer(status=status, excerpt=excerpt, error=error, elapsed_ms=int((time.monotonic() - begun) * 1000))


async def _post(call: Outgoing) -> tuple[int, str]:
    target = parse_url(call.url)
    addresses = check_addresses(target, await look_up(target.host, target.port))
    headers = {
        "user-agent": "Tokia-Webhooks/1", "accept": "*/*", "accept-encoding": "identity", "connection": "close",
        **call.headers, "host": target.authority,
    }  # fmt: skip
    timeout = httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS)
    async with httpx.AsyncClient(verify=_tls(), timeout=timeout, trust_env=False, follow_redirects=False) as client:
        tried = addresses[:ADDRESSES_TRIED]
        for address in tried:
            host = f"[{address}]" if ":" in address else address
            request = httpx.Request(
                "POST", f"{target.scheme}://{host}:{target.port}{target.path}", content=call.body, headers=headers,
                # The certificate is checked against the name, not against the address that we found for it.
                extensions={"sni_hostname": target.host, "timeout": timeout.as_dict()},
            )  # fmt: skip
            try:
                response = await client.send(request, stream=True)
            except httpx.ConnectError:
                if address == tried[-1]:
                    raise
                continue
            try:
                return response.status_code, await _read(response)
            finally:
                await response.aclose()
    raise AssertionError("unreachable")


async def _read(response: httpx.Response) -> str:
    """The answer's first bytes; what is beyond ANSWER_BYTES_MAX or BODY_SECONDS is not waited for: the status has told all."""
    kept = b""
    seen = 0
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in response.aiter_raw():
                seen += len(chunk)
                kept = (kept + chunk)[:EXCERPT_BYTES]
                if seen >= ANSWER_BYTES_MAX:
                    break
    return kept.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
