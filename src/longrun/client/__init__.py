"""The Python client of the HTTP API: `longrun.Client` and `longrun.AsyncClient`. It needs httpx and nothing else.

    client = longrun.Client()
    print(client.run("story", {"length": 20}))

`docs/client.md` shows every method.
"""

from longrun.client.aio import AsyncClient
from longrun.client.protocol.batches import BatchItem
from longrun.client.protocol.events import Event, StepPiece
from longrun.client.protocol.options import BatchOptions, Options
from longrun.client.resources.batches import AsyncRemoteBatch, RemoteBatch
from longrun.client.resources.files import AsyncRemoteFile, RemoteFile
from longrun.client.resources.jobs import AsyncRemoteJob, RemoteJob
from longrun.client.resources.views import Progress
from longrun.client.sync import Client

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
    "StepPiece",
]
