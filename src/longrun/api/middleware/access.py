"""Access: who may come in at all. Everything here is judged from the request's head, before a byte of its body is read."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longrun.api.http.request import head_of, route_path
from longrun.api.middleware.body_limit import Body, closing_when_unread, too_large
from longrun.api.problems import refuse
from longrun.errors import Forbidden, MalformedRequest, Problem, Unauthenticated, UnsupportedMedia
from longrun.settings import Settings
from longrun.version import API_PREFIX

DEFAULT_TENANT = "default"
_OPEN_PATHS = frozenset({"/livez", "/readyz"})
_CONTENT = re.compile(rf"{API_PREFIX}/files/[^/]+/content")
_SIGNAL = re.compile(rf"{API_PREFIX}/jobs/[^/]+/signals/[^/]+")
#: Bytes that a body may have, by the request's path and headers.
BodyLimits = Callable[[str, Headers], int]
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_PORT = re.compile(r":\d*$")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_EXPOSED = (
    "Location, Link, ETag, Retry-After, X-Request-Id, Idempotency-Replayed, Preference-Applied, "
    "Accept-Ranges, Content-Disposition, Content-Range, Repr-Digest"
)


class AccessControl:
    """ASGI middleware. Notes `tenant` in the scope's state."""

    def __init__(self, app: ASGIApp, settings: Settings, limits: BodyLimits | None = None) -> None:
        self._app = app
        self._keys = {tenant: key.get_secret_value().encode() for tenant, key in settings.api_keys.items()}
        self._hosts = allowed_hosts(settings)
        self._origins = frozenset(
            origin.rstrip("/").lower() for origin in (*settings.allowed_origins, _origin_of(settings.public_url)) if origin
        )
        self._limit = limits or (lambda _path, _headers: settings.max_body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = head_of(scope)
        try:
            origin = self._enter(scope, headers)
            if origin is not None:
                send = _with_cors(send, origin)
                if is_preflight(scope, headers):
                    await _preflight(headers)(scope, receive, send)
                    return
            scope.setdefault("state", {})["tenant"] = self._tenant(scope, headers)
            limit = self._limit(route_path(scope), headers) if scope["type"] == "http" else 0
            if scope["type"] == "http":
                check_body_head(headers, limit)
        except Problem as problem:
            await refuse(problem, scope, receive, closing_when_unread(scope, headers, Body(receive, 0), send))
            return
        body = Body(receive, limit)
        await self._app(scope, body.receive, closing_when_unread(scope, headers, body, send))

    def _enter(self, scope: Scope, headers: Headers) -> str | None:
        """Judge Host and Origin. The origin when it is a foreign one that may come in, otherwise None."""
        host = one_host(headers.getlist("host"), scope.get("http_version", "1.1"))
        if self._hosts is not None and not host_allowed(host, self._hosts):
            raise Forbidden("This Host is not served here. Add it to LONGRUN_ALLOWED_HOSTS when it should be.")
        origins = headers.getlist("origin")
        if not origins or (len(origins) == 1 and same_origin(origins[0], host)):
            return None
        if len(origins) == 1 and origins[0].lower() in self._origins:
            return origins[0]
        raise Forbidden("Pages of this Origin may not call this API. Add it to LONGRUN_ALLOWED_ORIGINS when they should.")

    def _tenant(self, scope: Scope, headers: Headers) -> str:
        if not self._keys:
            return DEFAULT_TENANT
        path = route_path(scope)
        if path in _OPEN_PATHS:
            return ""
        if is_signed(scope.get("query_string", b"")) and takes_signature(scope.get("method", ""), path):
            return ""  # who has a signed URL needs no key; the handler judges the signature
        return tenant_of(headers.getlist("authorization") or bearer_protocols(scope.get("subprotocols", ())), self._keys)


def takes_signature(method: str, path: str) -> bool:
    """Whether a signed URL does instead of a key: to read a file, to see what a job asks, and to answer that."""
    reads = method in ("GET", "HEAD")
    return (reads and bool(_CONTENT.fullmatch(path))) or ((reads or method == "POST") and bool(_SIGNAL.fullmatch(path)))


def is_signed(query: bytes) -> bool:
    """Whether a query has a signature, right or wrong."""
    return any(each.startswith(b"sig=") for each in query.split(b"&"))


def allowed_hosts(settings: Settings) -> frozenset[str] | None:
    """The Host names that are answered, in lower case; None = all.

    Without keys, only loopback names and those that were added: a page that resolves its own name to 127.0.0.1 would get in otherwise.
    """
    added = {host.lower() for host in settings.allowed_hosts}
    if "*" in added or (settings.api_keys and not added):
        return None
    return frozenset(added | (set() if settings.api_keys else set(_LOCAL)))


def one_host(values: list[str], http_version: str) -> str:
    """The Host header. Raises MalformedRequest when there are several, or none though HTTP/1.1 asks for one."""
    if len(values) > 1 or (not values and http_version == "1.1"):
        raise MalformedRequest("The request needs exactly one Host header.")
    return values[0].strip().lower() if values else ""


def host_allowed(host: str, allowed: Iterable[str]) -> bool:
    """Whether the host, with or without its port, is one of `allowed`."""
    return host in allowed or _PORT.sub("", host) in allowed


def same_origin(origin: str, host: str) -> bool:
    """Whether a page of `origin` belongs to the `host` that it calls. The scheme may differ: a proxy in front may speak TLS."""
    try:
        parts = urlsplit(origin)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
        called = urlsplit(f"//{host}")
        called_port = called.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return False
    return parts.hostname is not None and (parts.hostname, port) == (called.hostname, called_port)


def tenant_of(values: list[str], keys: Mapping[str, bytes]) -> str:
    """The tenant whose key the Authorization header holds; every key is compared, in constant time.

    Raises:
        Unauthenticated
    """
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    given = token.strip().encode("latin-1", "replace")
    found = [tenant for tenant, key in keys.items() if hmac.compare_digest(key, given)]
    if scheme.lower() != "bearer" or not found:
        raise Unauthenticated("Send `Authorization: Bearer <key>` with a key of this service.")
    return found[0]


def bearer_protocols(offered: Iterable[str]) -> list[str]:
    """The key that a WebSocket client offers as the subprotocol `bearer.<base64url of it>`, in the form of the Authorization header.

    A browser can set no header on a WebSocket, and a key in the URL would end up in logs; Kubernetes does it the same way.
    """
    keys = [name.removeprefix("bearer.") for name in offered if name.startswith("bearer.")]
    try:
        return [f"Bearer {base64.b64decode(key + '=' * (-len(key) % 4), altchars=b'-_', validate=True).decode('latin-1')}" for key in keys]
    except ValueError:
        return []


def check_body_head(headers: Headers, max_body: int) -> None:
    """Judge the body by what the head says of it.

    Raises:
        MalformedRequest, PayloadTooLarge, UnsupportedMedia
    """
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit() and len(length) < 20):
        raise MalformedRequest("Content-Length must be one whole number.")
    if int(length) > max_body:
        raise too_large(max_body)
    if headers.get("transfer-encoding", "chunked").strip().lower() != "chunked":
        raise UnsupportedMedia("A body is sent whole or chunked: no other Transfer-Encoding is read here.")
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMedia("Compressed bodies are not read here: leave Content-Encoding out.")


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def is_preflight(scope: Scope, headers: Headers) -> bool:
    """Whether a browser asks what a page may send (Fetch standard, CORS-preflight)."""
    return scope["type"] == "http" and scope["method"] == "OPTIONS" and "access-control-request-method" in headers


def _preflight(headers: Headers) -> Response:
    asked = {
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PATCH, DELETE",
        "Access-Control-Allow-Headers": headers.get("access-control-request-headers", ""),
        "Access-Control-Max-Age": "600",
    }
    return Response(status_code=204, headers=asked)


def _with_cors(send: Send, origin: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = _EXPOSED
            headers.add_vary_header("Origin")
        await send(message)

    return sending
