"""The Python client of the HTTP API: `longrun.Client` and `longrun.AsyncClient`. Needs httpx, and nothing of the server.

    client = longrun.Client()
    print(client.run("story", {"length": 20}))

`docs/client.md` shows every verb.
"""

from longrun.client.aio import AsyncClient, AsyncRemoteFile, AsyncRemoteJob
from longrun.client.batch_flows import BatchItem, BatchOptions
from longrun.client.batches import AsyncRemoteBatch, RemoteBatch
from longrun.client.events import Event
from longrun.client.snapshot import Options, Progress
from longrun.client.sync import Client, RemoteFile, RemoteJob

__all__ = [
    "AsyncClient",
    "AsyncRemoteBatch",
    "AsyncRemoteFile",
    "AsyncRemoteJob",
    "BatchItem",
    "BatchOptions",
    "Client",
    "Event",
    "Options",
    "Progress",
    "RemoteBatch",
    "RemoteFile",
    "RemoteJob",
]
