"""URLs that open for whoever has them, and for a while only: of files, and of what jobs ask."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from longrun.blobs.signing import LONGEST, sign, sign_signal
from longrun.jobs.events import OUTPUTS, Event
from longrun.jobs.file_refs import holds_files, with_urls
from longrun.jobs.record import JobRecord
from longrun.store.store import Store

#: Seconds for which the same URL is given: whoever asks twice, or in two ways, gets the same.
_STEP = 300.0


def _until_next(now: float) -> float:
    """Seconds that a URL given now holds: to the end of a step, ten minutes at least and fifteen at most."""
    # The half keeps the last digit from depending on how times are rounded.
    return LONGEST - 1 - now % _STEP + 0.5


class UrlSigner:
    """Signs with a secret that the store holds, so that every process accepts what another has signed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._secret = b""

    async def know(self) -> bytes:
        """Learn the secret, once. Raises StoreUnavailable."""
        if not self._secret:
            self._secret = await self._store.files.secret()
        return self._secret

    async def url(self, tenant: str, file_id: str, base: str) -> str:
        """The URL of a file of `tenant`; `base` is what stands before `/files`. Raises StoreUnavailable."""
        return _signed(await self.know(), tenant, base, file_id)

    async def signal(self, tenant: str, job_id: str, name: str, until: int, base: str) -> str:
        """The URL at which a job of `tenant` is answered up to `until` (ms). The same each time. Raises StoreUnavailable."""
        query = sign_signal(await self.know(), tenant=tenant, job=job_id, name=name, until=until / 1000)
        return f"{base}/jobs/{job_id}/signals/{name}?{query}"

    async def rendered(self, data: bytes, tenant: str, base: str) -> bytes:
        """JSON text with the URLs of its files. The files are signed for as those of `tenant`, whatever the text names."""
        if not holds_files(data):
            return data
        return with_urls(data, partial(_signed, await self.know(), tenant, base))

    async def job(self, job: JobRecord, base: str) -> JobRecord:
        """A record whose output is ready to be shown."""
        if job.output_ref is not None:
            return replace(job, output_url=await self.url(job.tenant, job.output_ref.id, base))
        if not holds_files(job.output):
            return job
        assert job.output is not None
        return replace(job, output=await self.rendered(job.output, job.tenant, base))

    async def events(self, events: list[Event], tenant: str, base: str) -> list[Event]:
        """Events whose outputs are ready to be shown."""
        if not any(event.type in OUTPUTS and holds_files(event.data) for event in events):
            return events
        return [replace(event, data=await self.rendered(event.data, tenant, base)) if event.type in OUTPUTS else event for event in events]


def _signed(secret: bytes, tenant: str, base: str, file_id: str) -> str:
    query = sign(secret, tenant=tenant, file=file_id, expires=_until_next(time.time()))
    return f"{base}/files/{file_id}/content?{query}"
