"""Signed URLs, for files that we serve ourselves and for what jobs ask: HMAC-SHA256 over everything that must not be changed.

The query is `expires=<Unix seconds>&kid=<key id>&sig=<base64url>`. The parts are signed with their lengths, so that no two sets of parts
have the same text.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import time
from collections.abc import Mapping
from urllib.parse import urlencode

from longrun.errors import Forbidden

LONGEST = 15 * 60.0
#: What the URL is for, and the method.
_FILE, _SIGNAL = ("longrun-file-url-v1", "GET"), ("longrun-signal-url-v1", "POST")


def sign(secret: bytes, *, tenant: str, file: str, expires: float) -> str:
    """The query that lets anybody read `file` of `tenant`.

    Args:
        secret: 32 random bytes or more.
        file: the file's id or key, as `verify` will be given it.
        expires: seconds from now; `LONGEST` at most.

    Raises:
        ValueError: `expires` is not between 0 and `LONGEST`.
    """
    if not 0 < expires <= LONGEST:
        raise ValueError(f"a signed URL holds between 0 and {LONGEST:g} seconds, not {expires:g}")
    return _query(secret, int(time.time() + expires), *_FILE, tenant, file)


def verify(secret: bytes, query: Mapping[str, str], *, tenant: str, file: str) -> None:
    """Check a query made by `sign`.

    Raises:
        Forbidden: it was not signed with `secret`, was changed, or has expired.
    """
    if not 0 <= _until(secret, query, *_FILE, tenant, file) - time.time() <= LONGEST:
        raise Forbidden("This URL has expired. Ask for a new one.")


def sign_signal(secret: bytes, *, tenant: str, job: str, name: str, until: float) -> str:
    """The query that lets anybody see what `job` asks under `name`, and answer it, up to `until` (Unix seconds)."""
    return _query(secret, math.ceil(until), *_SIGNAL, tenant, job, name)


def verify_signal(secret: bytes, query: Mapping[str, str], *, tenant: str, job: str, name: str) -> None:
    """Check a query made by `sign_signal`.

    Raises:
        Forbidden: it was not signed with `secret`, was changed, or has expired.
    """
    if _until(secret, query, *_SIGNAL, tenant, job, name) < time.time():
        raise Forbidden("This URL has expired, as has the time for the answer.")


def _query(secret: bytes, until: int, *parts: str) -> str:
    # Which secret signed: eight hexadecimal digits, so that the secret can be replaced some day while old URLs still hold.
    kid = hmac.new(secret, b"longrun-key-id", hashlib.sha256).hexdigest()[:8]
    return urlencode({"expires": until, "kid": kid, "sig": _signature(secret, *parts, str(until), kid)})


def _until(secret: bytes, query: Mapping[str, str], *parts: str) -> int:
    """Up to when a query holds that was signed for these parts. Raises Forbidden when it was not."""
    until = query.get("expires", "")
    right = _signature(secret, *parts, until, query.get("kid", ""))
    more = query.keys() - {"expires", "kid", "sig"}
    if not hmac.compare_digest(right.encode(), query.get("sig", "").encode("utf-8", "replace")) or more:
        raise Forbidden("The signature of this URL is not right. Ask for a new one.")
    return int(until)


def _signature(secret: bytes, *parts: str) -> str:
    text = b"".join(b"%d:%s" % (len(part), part) for part in (p.encode("utf-8", "replace") for p in parts))
    return base64.urlsafe_b64encode(hmac.new(secret, text, hashlib.sha256).digest()).decode().rstrip("=")
