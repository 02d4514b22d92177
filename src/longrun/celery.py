"""The Celery application for Celery's own tools: `celery -A longrun inspect ping`, `celery -A longrun flower`, `app.AsyncResult(job_id)`.

Needs `LONGRUN_REDIS_URL`, or a running `longrun serve` whose data folder is `LONGRUN_DATA` (default `.longrun`).
"""

from __future__ import annotations

from longrun.errors import needs_extra
from longrun.start import mend_start

mend_start()
with needs_extra("longrun.celery"):
    from longrun.blobs.open import open_blobs
    from longrun.queues.celery.app import build_app
    from longrun.settings import load_settings
    from longrun.wiring import find_store_url

_settings = load_settings()
_blobs = open_blobs(_settings)
app = build_app(find_store_url(_settings), _settings.prefix, read_file=lambda key: _blobs.read_blocking(key, _settings.max_output))
# Tools such as Flower look results up in Celery's default application.
app.set_default()
