"""The only exception tree. Each class carries its stable code, HTTP status and whether trying again can help.

LongrunError
├── AuthoringError            a model is written wrongly (raised at import)
├── SettingsError             a setting or a start-up condition is wrong
├── MissingExtra              a package is not installed (an ImportError); names the extra that brings it
├── Problem                   an answer other than success (RFC 9457); rendered by `longrun.api.problems`
│   ├── MalformedRequest · ValidationFailed · UnknownModel · PayloadTooLarge · UpgradeRequired · UnsupportedMedia
│   ├── IdempotencyKeyReused · Unauthenticated · Forbidden · QueueFull
│   ├── StoreUnavailable ── SubmitUnconfirmed · StorageFull
│   ├── BlobsUnavailable · BlobsFull · FileNotFound · FileGone · RangeNotSatisfiable · UploadTooSlow
│   ├── StoreUnsafe
│   ├── WebhookEndpointNotFound · WebhookDeliveryNotFound · QuotaExceeded
│   ├── BatchNotFound ── BatchLost
│   ├── JobNotFound ── JobLost
│   ├── NotARoot · AlreadyAnswered · WaitTimeout · JobEnded
│   └── BatchGone · JobGone · EventsLost · NotRetryable · NotFinished · JobUnsuccessful
├── JobError                  how an attempt failed; `code` is what callers see in `job.error.code`
│   └── Failure · RetryAfter · BadInput · InvalidOutput · ResultTooLarge · StepNotAwaited
├── StepFailed                a step of a job failed; raised where its parent awaits it
│   └── StepRefused           it was not made
├── StepConflict              one name for two steps
├── CallError                 a call through `longrun.Client` had no success
│   └── ApiError · Unreachable · DownloadBroken
├── JobFailed                 the job that `result()` waited for ended without an output
├── StreamBroken              the pieces that `stream()` has given do not belong to what follows
Canceled(BaseException)       raised inside a model whose job is to stop; `except Exception` does not catch it
└── SoftTimeLimit · LetGo
"""

from typing import TYPE_CHECKING

from longrun.errors.extras import *
from longrun.errors.jobs import *
from longrun.errors.problems import *

if not TYPE_CHECKING:  # a type checker knows by itself that what the modules import is not exported, and reads no list that is computed
    __all__ = [name for name, value in globals().items() if isinstance(value, type) and issubclass(value, BaseException)]
