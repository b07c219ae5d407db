"""The sandbox's own little certificate authority, made once: the bank's server, Tokia's client, the webhook's sender."""

from __future__ import annotations

import ipaddress
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from tokia.sandbox.certificates import build_certificate, write_pem

CA_NAME = "AC Sandbox Tokia"
CLIENT_NAME = "tokia-psp-client"  # the only subject that the bank's port admits
HOOK_NAME = "psp-webhook-sender"
FILES = ("ca.pem", "server.pem", "client.pem", "hook.pem")


def ensure_certificates(folder: Path) -> None:
    """Write `ca.pem`, `server.pem`, `client.pem` and `hook.pem` (key, then certificate; 0600) unless all are there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if all((folder / name).exists() for name in FILES):
        return
    authority_key, server_key, client_key, hook_key = (ec.generate_private_key(ec.SECP256R1()) for _ in FILES)
    build = partial(build_certificate, organization="Sandbox Tokia", issuer_key=authority_key)
    authority = build(CA_NAME, key=authority_key, issuer=None)
    hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = build("localhost", key=server_key, issuer=authority, usage=ExtendedKeyUsageOID.SERVER_AUTH, names=hosts)
    client = build(CLIENT_NAME, key=client_key, issuer=authority, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    hook = build(HOOK_NAME, key=hook_key, issuer=authority, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    # ca.pem goes last: a start that was cut before it begins again.
    write_pem(folder / "server.pem", key=server_key, certificate=server)
    write_pem(folder / "client.pem", key=client_key, certificate=client)
    write_pem(folder / "hook.pem", key=hook_key, certificate=hook)
    write_pem(folder / "ca.pem", key=None, certificate=authority)
