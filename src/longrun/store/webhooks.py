"""Webhooks in the store: endpoints, secrets, and the ledger of deliveries. What is due gets there by the scripts that change jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from longrun.jobs.fence import Fence, attempt_of, fence_of
from longrun.settings import Settings
from longrun.store.connection import Connection, Cursor, cursor_after
from longrun.store.kinds import DELIVERY, ENDPOINT
from longrun.wire.webhooks import DeliveryStatus, EndpointEvent

MOST_ENDPOINTS = 20
Settled = Literal["delivered", "failed", "disabled", "retry", "release"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A registered receiver. Times are milliseconds since the epoch."""

    id: str
    url: str
    events: Sequence[EndpointEvent]
    description: str
    created: int
    secret: str
    previous_until: int | None  #: until then the secret before this one signs too
    disabled_reason: str | None  #: None = it gets what it wants

    @classmethod
    def from_json(cls, endpoint_id: str, data: bytes) -> Endpoint:
        """Build it from what `hooks:<tenant>` holds."""
        held: dict[str, Any] = orjson.loads(data)
        return cls(
            endpoint_id,
            held["url"],
            held["events"],
            held["description"],
            int(held["created"]),
            held["secret"],
            int(held["previous_until"]) if "previous_until" in held else None,
            held.get("disabled_reason"),
        )


@dataclass(frozen=True, slots=True)
class Try:
    """One try of a delivery. `at`: milliseconds since the epoch; `status`: of the answer, None = there was none."""

    at: int
    status: int | None
    error: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one receiver, and every try so far. Times are milliseconds since the epoch."""

    id: str
    type: str
    job: str | None
    endpoint: str | None  #: None = the job's own webhook
    url: str
    status: DeliveryStatus
    created: int
    due: int | None  #: of the next try, while pending
    finished: int | None
    reason: str | None  #: why it was given up
    tries: Sequence[Try]

    @classmethod
    def from_fields(cls, flat: Sequence[bytes]) -> Delivery:
        """Build it from the fields and values of the hash, with `id` and `due` beside them."""
        held = {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}
        numbers = sorted(int(name[4:]) for name in held if name.startswith("try:"))
        status: Any = held["status"]
        return cls(
            held["id"],
            held["type"],
            held["job"] or None,
            held["endpoint"] or None,
            held["url"],
            status,
            int(held["created"]),
            int(float(held["due"])) if status == "pending" and held["due"] else None,
            int(held["finished"]) if "finished" in held else None,
            held.get("reason"),
            [Try(**orjson.loads(held[f"try:{number}"])) for number in numbers],
        )


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery that was claimed for a try."""

    id: str
    fence: Fence  #: number of the try and nonce of its claim: every word on what became of it carries it
    tries: int  #: tries of this schedule, this one included
    tenant: str
    job: str | None
    type: str
    created: int
    url: str
    secrets: Sequence[str]
    data: bytes  #: JSON of what was true then, or empty

    @property
    def number(self) -> int:
        """Of the try."""
        return attempt_of(self.fence)

    @classmethod
    def from_values(cls, nonce: str, values: Sequence[bytes]) -> Due:
        """Build it from the ten values of claim_deliveries.lua, which was called with this nonce."""
        *texts, data = values
        message, number, tries, tenant, job, kind, created, url, secrets = [text.decode() for text in texts]
        return cls(
            message, fence_of(int(number), nonce), int(tries), tenant, job or None, kind, int(created), url, secrets.split(" "), data
        )


class Webhooks:
    """See the module."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._run, self._command, self._prefix = connection.run, connection.command, settings.prefix
        # The one try that a claim allows must be over before another process may begin the next.
        self._lease = int(settings.webhook_timeout * 1000) + 30_000
        self._tombstone, self._first = int(settings.tombstone * 1000), int(settings.webhook_schedule[0] * 1000)

    async def endpoints(self, tenant: str) -> list[Endpoint]:
        """The tenant's endpoints, oldest first."""
        flat = await self._command("HGETALL", f"{self._prefix}hooks:{tenant}")
        found = [Endpoint.from_json(flat[i].decode(), flat[i + 1]) for i in range(0, len(flat), 2)]
        return sorted(found, key=lambda endpoint: (endpoint.created, endpoint.id))

    async def endpoint(self, tenant: str, endpoint_id: str) -> Endpoint:
        """One endpoint. Raises WebhookEndpointNotFound."""
        held = await self._command("HGET", f"{self._prefix}hooks:{tenant}", endpoint_id)
        if held is None:
            raise ENDPOINT.not_found(endpoint_id)
        return Endpoint.from_json(endpoint_id, held)

    async def add_endpoint(self, tenant: str, endpoint_id: str, members: Mapping[str, Any]) -> Endpoint | None:
        """Register a receiver: `url, events, description, secret`. None = the tenant has `MOST_ENDPOINTS`."""
        held = await self._change(tenant, endpoint_id, "create", members)
        return None if held == b"full" else Endpoint.from_json(endpoint_id, held)

    async def change_endpoint(self, tenant: str, endpoint_id: str, members: Mapping[str, Any]) -> Endpoint:
        """Replace members of an endpoint; a None takes a member away. Raises WebhookEndpointNotFound."""
        return Endpoint.from_json(endpoint_id, await self._change(tenant, endpoint_id, "change", members))

    async def rotate_endpoint(self, tenant: str, endpoint_id: str, secret: str, overlap: float) -> Endpoint:
        """Sign with another secret; the one before it signs too for `overlap` seconds. Raises WebhookEndpointNotFound."""
        held = await self._change(tenant, endpoint_id, "rotate", {"secret": secret, "overlap": int(overlap * 1000)})
        return Endpoint.from_json(endpoint_id, held)

    async def delete_endpoint(self, tenant: str, endpoint_id: str) -> None:
        """Forget an endpoint; what is on its way to it is given up. Raises WebhookEndpointNotFound."""
        await self._change(tenant, endpoint_id, "delete", {})

    async def secret(self, tenant: str, fresh: str) -> str:
        """What signs the webhooks of the tenant's jobs that bring no secret; `fresh` when there is none yet."""
        return str(orjson.loads(await self._change(tenant, "", "create", {"secret": fresh}))["secret"])

    async def rotate_secret(self, tenant: str, secret: str, overlap: float) -> None:
        """As `rotate_endpoint`, for the tenant's own secret, which exists."""
        await self._change(tenant, "", "rotate", {"secret": secret, "overlap": int(overlap * 1000)})

    async def _change(self, tenant: str, endpoint_id: str, verb: str, members: Mapping[str, Any]) -> bytes:
        reply = await self._run("endpoint", tenant, endpoint_id, verb, orjson.dumps(dict(members)), MOST_ENDPOINTS)
        return bytes(ENDPOINT.found(endpoint_id, reply)[0])

    async def take(self, nonce: str, most: int, fresh: str) -> list[Due]:
        """Claim up to `most` (<= 100) deliveries that are due; each try counts from here on.

        Args:
            nonce: names this claim; repeated, it gives the same deliveries.
            most: how many.
            fresh: a secret for a tenant that has none yet.
        """
        flat = await self._run("claim_deliveries", nonce, most, self._lease, self._tombstone, fresh, self._first)
        return [Due.from_values(nonce, flat[i : i + 10]) for i in range(0, len(flat), 10)]

    async def settle(self, due: Due, outcome: Settled, *, delay: float = 0.0, tried: Try | None = None, reason: str = "") -> bool:
        """Record the outcome of a try. False: stale, another try has begun.

        Args:
            due: what was claimed.
            outcome: `disabled` = given up, and its endpoint gets no more; `release` = it was not sent and does not count.
            delay: seconds until the next try, for `retry` and `release`.
            tried: for the ledger.
            reason: why it was given up.
        """
        data = b"" if tried is None else orjson.dumps(tried)
        reply = await self._run("settle_delivery", due.id, due.fence, outcome, int(delay * 1000), data, reason, self._tombstone)
        return bool(reply[0])

    async def deliveries(
        self, tenant: str, *, cursor: Cursor | None, look_at: int, filters: Mapping[str, str]
    ) -> tuple[list[Delivery], Cursor | None]:
        """Look at up to `look_at` (<= 100) deliveries below `cursor`, newest first; those that fit all `filters`, and the next cursor.

        Filters: `id`, `job`, `endpoint`, `status`.
        """
        flat = [text for pair in filters.items() for text in pair]
        looked, score, last, *rows = await self._run("deliveries", tenant, *(cursor or ("", "")), look_at, *flat)
        return [Delivery.from_fields(row) for row in rows], cursor_after(looked, look_at, score, last)

    async def delivery(self, tenant: str, delivery_id: str) -> Delivery:
        """One delivery. Raises WebhookDeliveryNotFound."""
        found, _ = await self.deliveries(tenant, cursor=None, look_at=1, filters={"id": delivery_id})
        if not found:
            raise DELIVERY.not_found(delivery_id)
        return found[0]

    async def redeliver(self, tenant: str, delivery_id: str) -> None:
        """Send it again at once. Raises WebhookDeliveryNotFound; JobGone: the job that it is about is no longer there."""
        DELIVERY.found(delivery_id, await self._run("redeliver", delivery_id, tenant))

    async def test(self, tenant: str, endpoint_id: str, fresh_id: str) -> None:
        """Send an endpoint a test. Raises WebhookEndpointNotFound."""
        ENDPOINT.found(endpoint_id, await self._run("test_delivery", fresh_id, tenant, endpoint_id))
