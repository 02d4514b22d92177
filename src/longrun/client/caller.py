"""The calls of a client, as its jobs, batches and files make them too: rules for retries, and a connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from longrun.client.http.connection import AsyncConnection, Connection
from longrun.client.http.retry import Rules
from longrun.client.http.steps import Flow
from longrun.client.protocol.calls import ask, call_json

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls a server from ordinary code.

    Args:
        rules: for how long a call is tried again.
        connection: to the server.
    """

    rules: Rules
    connection: Connection

    def run(self, flow: Callable[Concatenate[Rules, P], Flow[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Carry out a flow that gives no values; its return value."""
        return self.connection.run(flow(self.rules, *args, **kwargs))

    def iterate(self, flow: Callable[Concatenate[Rules, P], Flow[None]], *args: P.args, **kwargs: P.kwargs) -> Generator[Any]:
        """Carry out a flow; the values it gives."""
        return self.connection.iterate(flow(self.rules, *args, **kwargs))

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """See `Client.request`."""
        return self.run(call_json, ask(method, path, body))


@dataclass(frozen=True, slots=True)
class AsyncCaller:
    """Calls a server from asyncio; see `Caller`."""

    rules: Rules
    connection: AsyncConnection

    async def run(self, flow: Callable[Concatenate[Rules, P], Flow[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Caller.run`."""
        return await self.connection.run(flow(self.rules, *args, **kwargs))

    def iterate(self, flow: Callable[Concatenate[Rules, P], Flow[None]], *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any]:
        """See `Caller.iterate`."""
        return self.connection.iterate(flow(self.rules, *args, **kwargs))

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """See `Client.request`."""
        return await self.run(call_json, ask(method, path, body))
