"""The Python client of the HTTP API: `longrun.Client` and `longrun.AsyncClient`. Needs httpx, and nothing of the server.

    client = longrun.Client()
    print(client.run("story", {"length": 20}))

`docs/client.md` shows every verb.
"""

from longrun.client.aio import AsyncClient, AsyncRemoteFile, AsyncRemoteJob
from longrun.client.events import Event
from longrun.client.snapshot import Options, Progress
from longrun.client.sync import Client, RemoteFile, RemoteJob

__all__ = ["AsyncClient", "AsyncRemoteFile", "AsyncRemoteJob", "Client", "Event", "Options", "Progress", "RemoteFile", "RemoteJob"]
