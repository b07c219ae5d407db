"""AWS Signature Version 4 for one POST of JSON. Pure.

Source: AWS, "Create a signed AWS API request"; the tests compare it with botocore's own signer.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"


class AccessKey(NamedTuple):
    """An AWS key. `session_token` is empty for a lasting one."""

    id: str
    secret: str
    session_token: str = ""


def read_access_key(text: str) -> AccessKey | None:
    """`ACCESS_KEY_ID:SECRET[:SESSION_TOKEN]` as the administrator wrote it; None for anything else."""
    parts = text.split(":", 2)
    if len(parts) < 2 or not all(parts):
        return None
    return AccessKey(*parts)


def sign_post(
    *, url: str, headers: list[tuple[str, str]], body: bytes, key: AccessKey, region: str, service: str, at: dt.datetime
) -> list[tuple[str, str]]:
    """`headers` with those that sign them, the host and the body. `at` is in UTC; AWS takes it for five minutes either way."""
    parts = urlsplit(url)
    moment = at.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    signed = [*headers, ("x-amz-date", moment)]
    if key.session_token:
        signed.append(("x-amz-security-token", key.session_token))
    canonical = sorted((name.lower(), " ".join(value.split())) for name, value in [*signed, ("host", parts.netloc)])
    names = ";".join(name for name, _ in canonical)
    request = "\n".join(
        [
            "POST",
            canonical_path(parts.path),
            canonical_query(parts.query),
            *(f"{name}:{value}" for name, value in canonical),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        ]
    )
    to_sign = "\n".join([ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    signature = hmac.new(signing_key(key.secret, moment[:8], region, service), to_sign.encode(), hashlib.sha256).hexdigest()
    return [*signed, ("authorization", f"{ALGORITHM} Credential={key.id}/{scope}, SignedHeaders={names}, Signature={signature}")]


def canonical_path(path: str) -> str:
    """Every service but S3 signs the path as it is sent, encoded once more, without empty and dotted parts."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    end = "/" if kept and path.endswith("/") else ""
    return quote("/" + "/".join(kept) + end, safe="/~")


def canonical_query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    return "&".join(sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs))


@lru_cache(maxsize=64)
def signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """The day's key: four hashes that need not be made for every call."""
    key = b"AWS4" + secret.encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
