"""Signed URLs for files that we serve ourselves: HMAC-SHA256 over everything that must not be changed.

The query is `expires=<Unix seconds>&kid=<key id>&sig=<base64url>`. The parts are signed with their lengths, so that no two sets of parts
have the same text.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import urlencode

from longrun.errors import Forbidden

LONGEST = 15 * 60.0
_CONTEXT = "longrun-file-url-v1"


def key_id(secret: bytes) -> str:
    """Which secret signed: eight hexadecimal digits, so that a secret can be replaced while old URLs still hold."""
    return hmac.new(secret, b"longrun-key-id", hashlib.sha256).hexdigest()[:8]


def sign(secret: bytes, *, method: str, tenant: str, file: str, expires: float = LONGEST, longest: float = LONGEST) -> str:
    """The query that lets anybody use `method` on `file` of `tenant`.

    Args:
        secret: 32 random bytes or more.
        file: the file's id or key, as `verify` will be given it.
        expires: seconds from now; `longest` at most.

    Raises:
        ValueError: `expires` is not between 0 and `longest`.
    """
    if not 0 < expires <= longest:
        raise ValueError(f"a signed URL holds between 0 and {longest:g} seconds, not {expires:g}")
    until, kid = str(int(time.time() + expires)), key_id(secret)
    return urlencode({"expires": until, "kid": kid, "sig": _signature(secret, method, tenant, file, until, kid)})


def verify(secrets: list[bytes], query: Mapping[str, str], *, method: str, tenant: str, file: str, longest: float = LONGEST) -> None:
    """Check a query made by `sign`; HEAD may be used wherever GET may.

    Args:
        secrets: the one that signs now, and those before it that still hold.

    Raises:
        Forbidden: it was not signed by one of `secrets`, was changed, or has expired.
    """
    until, kid = query.get("expires", ""), query.get("kid", "")
    signed = "GET" if method == "HEAD" else method
    secret = next((one for one in secrets if hmac.compare_digest(key_id(one).encode(), kid.encode("utf-8", "replace"))), None)
    # An unknown key id costs the same work as a wrong signature.
    right = _signature(secret or b"\0" * 32, signed, tenant, file, until, kid)
    more = query.keys() - {"expires", "kid", "sig"}
    if not hmac.compare_digest(right.encode(), query.get("sig", "").encode("utf-8", "replace")) or secret is None or more:
        raise Forbidden("The signature of this URL is not right. Ask for a new one.")
    if not 0 <= int(until) - time.time() <= longest:
        raise Forbidden("This URL has expired. Ask for a new one.")


def _signature(secret: bytes, *parts: str) -> str:
    text = b"".join(b"%d:%s" % (len(part), part) for part in (p.encode("utf-8", "replace") for p in (_CONTEXT, *parts)))
    return base64.urlsafe_b64encode(hmac.new(secret, text, hashlib.sha256).digest()).decode().rstrip("=")
