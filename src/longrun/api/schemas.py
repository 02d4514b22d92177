"""JSON schemas of the answers, for the OpenAPI document. A test holds real answers against them."""

from __future__ import annotations

from typing import Any, get_args

from longrun.jobs.events import TYPES
from longrun.jobs.failure import DEATH, STOP, StoppedBy
from longrun.jobs.states import Status

Schema = dict[str, Any]

INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
TEXT: Schema = {"type": "string"}
TIME: Schema = {"type": "string", "format": "date-time"}
ANY: Schema = {}


def ref(name: str) -> Schema:
    """A reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Schema) -> Schema:
    """The schema, or null."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema | {"type": [schema["type"], "null"]}


def array(items: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": items}


def record(members: dict[str, Schema], *, optional: tuple[str, ...] = (), open_ended: bool = False, description: str = "") -> Schema:
    """An object with these members, all of them required but the `optional` ones."""
    schema: Schema = {"type": "object", "properties": members, "required": [name for name in members if name not in optional]}
    if not open_ended:
        schema["additionalProperties"] = False
    return schema | ({"description": description} if description else {})


def text(description: str) -> Schema:
    """A string with a description."""
    return {"type": "string", "description": description}


_FINDING = record({"pointer": text("JSON pointer (RFC 6901) to what is wrong"), "detail": TEXT})

_PROBLEM_MEMBERS = {
    "type": text("URN of the kind of problem"),
    "title": TEXT,
    "status": INTEGER,
    "detail": text("what was wrong, and what to do"),
    "instance": text("path of the request"),
    "code": text("stable code to decide by"),
    "retryable": BOOLEAN,
    "request_id": text("also in the header X-Request-Id; the operator's log names it"),
    "errors": array(_FINDING),
}

_JOB_PROBLEM = {name: _PROBLEM_MEMBERS[name] for name in ("type", "title", "status", "detail", "instance", "code", "retryable")} | {
    "attempt": INTEGER,
    "cause": nullable(TEXT),
    "debug": text("the operator's text; only with LONGRUN_EXPOSE_ERRORS"),
    "signal": text("the signal that ended the job's process, such as SIGSEGV"),
    "exit_code": {"type": "integer", "description": "exit status of the job's process, when no signal ended it"},
    "peak_memory": {"type": "integer", "description": "most bytes that the job's process held, the loaded model included"},
    "hint": text("what is known, or guessed, of the cause"),
    "stopped_by": {"enum": list(get_args(StoppedBy)), "description": "the step that stopped a canceled or timed-out job"},
    "run_s": {"type": "number", "description": "seconds it had run when it had stopped"},
    "stop_s": {"type": "number", "description": "seconds from the request, or the end of the limit, until it had stopped"},
}
_SOMETIMES = ("debug", *DEATH, *STOP)

_POLICY = record(
    {
        "max_attempts": INTEGER,
        "backoff": NUMBER,
        "timeout": NUMBER,
        "soft_timeout": nullable(NUMBER),
        "start_within": nullable(NUMBER),
        "total_timeout": nullable(NUMBER),
        "retain_for": NUMBER,
        "delivery": {"enum": ["at_least_once", "at_most_once"]},
    },
    description="The limits in force. Durations are seconds.",
)

_PROGRESS = record(
    {"fraction": nullable(NUMBER), "step": nullable(TEXT), "message": nullable(TEXT), "updated_at": nullable(TIME)},
    optional=("fraction", "step", "message"),
    open_ended=True,
)

_JOB: dict[str, Schema] = {
    "id": text("`job_` and 32 hexadecimal digits"),
    "model": TEXT,
    "status": {"enum": [status.value for status in Status], "description": "treat one that you do not know as unfinished"},
    "terminal": {"type": "boolean", "description": "whether the job has ended"},
    "version": {"type": "integer", "description": "moves on with status and progress; also the ETag"},
    "queue": TEXT,
    "priority": INTEGER,
    "attempt": {"type": "integer", "description": "0 before the first"},
    "retries_left": INTEGER,
    "created_at": TIME,
    "queued_at": nullable(TIME),
    "started_at": nullable(TIME),
    "finished_at": nullable(TIME),
    "expires_at": nullable(TIME),
    "next_attempt_at": nullable(TIME),
    "position": {"type": ["integer", "null"], "description": "place in its lane, 1 = next; only while queued"},
    "progress": nullable(ref("Progress")),
    "output": {"description": "what the model returned; left out of lists"},
    "output_file": nullable(ref("OutputFile")) | {"description": "where the output is that is too large to stand here; left out of lists"},
    "error": nullable(ref("JobProblem")),
    "partial": {"type": "boolean", "description": "whether the output is what the model had when its time was over"},
    "webhook": nullable(record({"url": TEXT, "events": array(TEXT)}, description="Who is told of the job, and of what.")),
    "usage": {"type": "object", "description": "seconds, and the figures that the model reports, summed over all attempts"},
    "tags": array(TEXT),
    "metadata": {"type": "object"},
    "policy": ref("Policy"),
    "retry_of": nullable(TEXT),
    "retried_by": nullable(TEXT),
    "parent": nullable(TEXT),
    "batch": nullable(TEXT) | {"description": "the batch whose item it is"},
    "batch_index": nullable(INTEGER) | {"description": "its place there, from 0"},
    "urls": record(dict.fromkeys(("self", "result", "events", "ws", "cancel"), TEXT)),
}

_EVENT = record(
    {"seq": INTEGER, "attempt": INTEGER, "at": TIME, "type": {"enum": sorted(TYPES)}, "data": {"type": "object"}},
    description="One entry of a job's log. `started` of a later attempt means: drop the output of the earlier one.",
)

_MODEL = record(
    {
        "name": TEXT,
        "title": TEXT,
        "description": TEXT,
        "queue": TEXT,
        "streams": BOOLEAN,
        "batched": BOOLEAN,
        "input_schema": {"type": "object"},
        "output_schema": {"type": ["object", "boolean"]},
        "policy": ref("Policy"),
        "limits": {"type": "object"},
        "options": {"type": "object"},
        "urls": {"type": "object"},
    }
)

_LANE = record({"model": TEXT, "queued": INTEGER, "by_priority": {"type": "object"}, "oldest_seconds": nullable(NUMBER)})
_BATCHES = record({"count": INTEGER, "mean_size": NUMBER, "mean_wait_s": nullable(NUMBER)})
_COUNTS = dict.fromkeys(("succeeded", "failed", "canceled", "expired"), INTEGER)

COMPONENTS: dict[str, Schema] = {
    "Problem": record(_PROBLEM_MEMBERS, optional=("errors",), open_ended=True, description="RFC 9457"),
    "JobProblem": record(_JOB_PROBLEM, optional=_SOMETIMES, description="Why a job did not succeed."),
    "JobUnsuccessful": record(_JOB_PROBLEM | {"job_id": TEXT, "request_id": TEXT}, optional=_SOMETIMES),
    "Policy": _POLICY,
    "Progress": _PROGRESS,
    "Job": record(_JOB, optional=("output", "output_file")),
    "JobPage": record({"jobs": array(ref("Job")), "next": {"type": ["string", "null"], "description": "URL of the next page"}}),
    "Event": _EVENT,
    # Before 3.2, OpenAPI has the schema of a stream describe each of its events.
    "StreamedEvent": record({"id": text("the event's seq"), "data": text("JSON of an Event")}, open_ended=True),
    "EventPage": record({"events": array(ref("Event")), "next": nullable(INTEGER), "terminal": BOOLEAN}),
    "OutputSoFar": record({"attempt": INTEGER, "status": TEXT, "complete": BOOLEAN, "truncated": BOOLEAN, "output": ANY}),
    "Attempt": record(
        {
            "attempt": INTEGER,
            "worker": TEXT,
            "device": nullable(TEXT),
            "started_at": TIME,
            "finished_at": nullable(TIME),
            "run_s": nullable(NUMBER),
            "outcome": nullable(TEXT),
            "usage": {"type": ["object", "null"], "description": "figures that this attempt has reported; the job's `usage` has the sums"},
            "error": nullable(ref("JobProblem")),
        }
    ),
    "AttemptList": record({"attempts": array(ref("Attempt"))}),
    "Model": _MODEL,
    "ModelList": record({"models": array(ref("Model"))}),
    "QueueList": record(
        {"queues": array(record({"queue": TEXT, "queued": INTEGER, "oldest_seconds": nullable(NUMBER), "models": array(_LANE)}))}
    ),
    "WorkerList": record({"workers": array({"type": "object"})}),
    "Stats": record({"models": array(record({"model": TEXT, **_COUNTS, "run_s": NUMBER, "batches": nullable(_BATCHES)}))}),
    "Scale": record(
        {"queue": TEXT, "demand": INTEGER, "queued": INTEGER, "running": INTEGER, "oldest_seconds": nullable(NUMBER), "workers": INTEGER}
    ),
    "Redriven": record(
        {
            "redriven": array(record({"id": TEXT, "job_id": TEXT})),
            "skipped": array(record({"id": TEXT, "code": TEXT})),
            "left": {"type": "integer", "description": "dead letters that are left"},
            "next": {"type": ["string", "null"], "description": "`cursor` to go on with; null: all that matched were handled"},
        }
    ),
    "Live": record({"live": BOOLEAN}),
    "Ready": record({"ready": BOOLEAN, "checks": {"type": "object"}, "workers": INTEGER}, optional=("workers",)),
}
