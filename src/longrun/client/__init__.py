"""The Python client of the HTTP API: `longrun.Client` and `longrun.AsyncClient`. Needs httpx, and nothing of the server.

    client = longrun.Client()
    print(client.run("story", {"length": 20}))

`docs/client.md` shows every verb.
"""

from longrun.client.aio import AsyncClient, AsyncRemoteJob
from longrun.client.batches import BatchItem
from longrun.client.events import Event
from longrun.client.remote_batches import AsyncRemoteBatch, RemoteBatch
from longrun.client.remote_files import AsyncRemoteFile, RemoteFile
from longrun.client.snapshot import BatchOptions, Options, Progress
from longrun.client.sync import Client, RemoteJob

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
