"""Who calls Bedrock: AWS Signature Version 4 verified for real, or one of Bedrock's API keys as a bearer token.

Written from AWS's description of the signature, independently of whoever signs; dates are held against this machine's clock.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
from urllib.parse import quote, unquote

from tokia.sandbox.asgi import Request
from tokia.sandbox.llm_keys import knows_key, secret_of_access_key
from tokia.sandbox.llm_providers import Provider
from tokia.sandbox.llm_refusals import ProviderError

SESSION_TOKEN = "sandbox-session"  # noqa: S105 — a simulated provider's
CLOCK_SKEW = dt.timedelta(minutes=5)
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[^/]+)/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/(?P<service>[a-z]+)/aws4_request, ?"
    r"SignedHeaders=(?P<names>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


def refuse_bad_signature(request: Request, provider: Provider) -> None:
    """Raises ProviderError 403, as AWS does."""
    given = request.headers.get("authorization", "")
    if given.startswith("Bearer "):
        if not knows_key(provider, given[7:]):
            raise _denied("The bearer token included in the request is invalid", "UnrecognizedClientException")
        return
    if not given:
        raise _denied("Missing Authentication Token", "MissingAuthenticationTokenException")
    found = _AUTHORIZATION.fullmatch(given)
    if found is None:
        raise _denied("Authorization header is not a valid AWS4-HMAC-SHA256 header.", "IncompleteSignatureException")
    token = request.headers.get("x-amz-security-token")
    secret = secret_of_access_key(found["id"])
    if not secret or not knows_key(provider, secret) or token not in (None, SESSION_TOKEN):
        raise _denied("The security token included in the request is invalid.", "UnrecognizedClientException")
    if found["service"] != "bedrock":
        raise _denied("Credential should be scoped to correct service: 'bedrock'.", "InvalidSignatureException")
    moment = _read_moment(request, found["day"])
    names = found["names"].split(";")
    must = {"host", "x-amz-date", *(name for name in request.headers if name.startswith("x-amz-"))}
    if names != sorted(names) or not must <= set(names):
        raise _denied("'Host' and every 'X-Amz-*' must be signed headers.", "InvalidSignatureException")
    expected = _signature(request, found, names, moment, secret)
    if not hmac.compare_digest(expected, found["signature"]):
        text = "The request signature we calculated does not match the signature you provided."
        raise _denied(text, "InvalidSignatureException")


def _read_moment(request: Request, day: str) -> str:
    moment = request.headers.get("x-amz-date", "")
    try:
        at = dt.datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    except ValueError:
        raise _denied("Date must be in ISO-8601 'basic format'.", "IncompleteSignatureException") from None
    if moment[:8] != day or abs(dt.datetime.now(dt.UTC) - at) > CLOCK_SKEW:
        raise _denied(f"Signature expired: {moment} is now earlier than allowed.", "InvalidSignatureException")
    return moment


def _signature(request: Request, found: re.Match[str], names: list[str], moment: str, secret: str) -> str:
    raw_path = bytes(request.scope.get("raw_path") or request.path.encode()).split(b"?")[0].decode("latin-1")
    lines = ["POST", quote(raw_path, safe="/~-._"), _query(request.query_string)]
    lines += [f"{name}:{re.sub(' +', ' ', request.headers[name].strip())}" for name in names if name in request.headers]
    lines += ["", ";".join(names), hashlib.sha256(request.body).hexdigest()]
    scope = f"{found['day']}/{found['region']}/{found['service']}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def _query(query_string: str) -> str:
    pairs = [pair.partition("=") for pair in query_string.split("&") if pair]
    return "&".join(sorted(f"{quote(unquote(name), safe='-_.~')}={quote(unquote(value), safe='-_.~')}" for name, _, value in pairs))


def _denied(message: str, kind: str) -> ProviderError:
    return ProviderError(403, message, kind=kind)
