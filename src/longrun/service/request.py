"""What a submit may say, typed: of one job, the body of `POST /models/{model}/jobs`, and of a batch, besides its inputs."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from longrun.clock import MAX_DURATION
from longrun.errors import ValidationFailed
from longrun.models.pointers import MOST_FINDINGS, pointer, shorten
from longrun.service.jsontext import compact
from longrun.webhooks.signing import check_secret
from longrun.webhooks.urls import LONGEST
from longrun.wire.webhooks import BatchEvent, EndpointEvent, WebhookEvent

MAX_DELAY = 30 * 86_400.0
MAX_METADATA = 16 * 1024

Asked = TypeVar("Asked", bound=BaseModel)
T = TypeVar("T")

Duration = Annotated[float, Field(gt=0, le=MAX_DURATION)]
Tag = Annotated[str, Field(min_length=1, max_length=64)]

#: The events of a webhook when nothing else is asked for.
ENDS: tuple[WebhookEvent, ...] = ("job.succeeded", "job.failed", "job.canceled", "job.expired")
_BATCH_EVENTS: tuple[BatchEvent, ...] = ("batch.completed",)


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if len(compact(value)) > MAX_METADATA:
        raise ValueError(f"must be at most {MAX_METADATA} bytes of JSON")
    return value


Metadata = Annotated[dict[str, Any], AfterValidator(_small)]


def _secret(text: str) -> str:
    check_secret(text)
    return text


WebhookUrl = Annotated[str, Field(min_length=1, max_length=LONGEST, description="`https://…` (`http://` in allowed networks).")]
WebhookSecret = Annotated[str, AfterValidator(_secret), Field(description="`whsec_` and 24 to 64 random bytes in base64.")]


class Body(BaseModel):
    """What a caller sends: every member is known, and of the type that it is to have."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _few_unknown(cls, value: Any) -> Any:
        """Leave out unknown members of which nobody will be shown that they are unknown."""
        if not isinstance(value, dict) or len(value) <= MOST_FINDINGS:
            return value
        shown = islice((name for name in value if name not in cls.model_fields), MOST_FINDINGS)
        return {name: value[name] for name in (*(value.keys() & cls.model_fields.keys()), *shown)}


def at_most(number: int) -> BeforeValidator:
    """Refuse a longer list as a whole, before pydantic finds something wrong with each of its items."""

    def check(value: Any) -> Any:
        if isinstance(value, list) and len(value) > number:
            raise ValueError(f"must have {number:,} items at most, not {len(value):,}")
        return value

    return BeforeValidator(check)


def once(kinds: list[T]) -> list[T]:
    """Refuse an event that is named twice."""
    if len(set(kinds)) < len(kinds):
        raise ValueError("must name each event once")
    return kinds


#: Which events somebody is notified about. What a job holds of it is read by a script at each of the job's events.
Events = Annotated[
    list[T],
    at_most(len(get_args(EndpointEvent))),
    AfterValidator(once),
    Field(min_length=1, max_length=len(get_args(EndpointEvent)), json_schema_extra={"uniqueItems": True}),
]
Tags = Annotated[list[Tag], at_most(16), Field(max_length=16)]


class PolicyRequest(Body):
    """The limits a request asks for. Each is clamped to what the model allows; durations are seconds."""

    max_attempts: Annotated[int, Field(ge=1, le=1000)] | None = Field(None, description="Attempts in all that may end in an error.")
    backoff: Annotated[float, Field(ge=0, le=MAX_DURATION)] | None = Field(None, description="Base of the backoff between attempts.")
    timeout: Duration | None = Field(None, description="Running time of one attempt.")
    soft_timeout: Duration | None = Field(None, description="Running time after which the model is asked to end with what it has.")
    start_within: Duration | None = Field(None, description="The job expires when it has not started by then.")
    total_timeout: Duration | None = Field(None, description="Wall time from submit to end.")
    retain_for: Annotated[float, Field(ge=0, le=MAX_DURATION)] | None = Field(None, description="How long the finished job is kept.")
    delivery: Literal["at_least_once", "at_most_once"] | None = Field(None, description="`at_most_once`: not run again after a crash.")


#: What a request asks for that asks for nothing; nobody changes it.
NO_POLICY = PolicyRequest()


class WebhookRequest(Body):
    """Who is notified about a job, and about what."""

    url: WebhookUrl
    events: Events[WebhookEvent] = Field(
        default_factory=lambda: list(ENDS), description="Which events are sent; the four ends when not given."
    )
    secret: WebhookSecret | None = Field(
        None, description="Signs this job's webhooks; your own secret (`GET /webhook-secret`) when not given."
    )


class SubmitRequest(Body):
    """A request for one job."""

    input: Any = Field(description="What the model's input schema says.")
    priority: Annotated[int, Field(ge=0, le=9)] = Field(5, description="0 to 9, 9 the most urgent.")
    delay: Annotated[float, Field(ge=0, le=MAX_DELAY)] = Field(0.0, description="Seconds until the job is queued; 30 days at most.")
    tags: Tags = Field(default_factory=list, description="Labels to list jobs by.")
    metadata: Metadata = Field(default_factory=dict, description="Given back with the job, not looked at; 16 KB of JSON at most.")
    cancel_on_disconnect: bool = Field(
        False,
        description="While this request waits for the job (`Prefer: wait`, or the event stream): cancel it when the caller goes away.",
    )
    webhook: WebhookRequest | None = Field(None, description="Who is notified.")
    policy: PolicyRequest = Field(default_factory=lambda: NO_POLICY, description="Limits that this request asks for.")


class BatchWebhookRequest(Body):
    """Who is notified about the end of a batch."""

    url: WebhookUrl
    events: Annotated[list[BatchEvent], at_most(1), Field(min_length=1, max_length=1)] = Field(
        default_factory=lambda: list(_BATCH_EVENTS), description="There is this one."
    )
    secret: WebhookSecret | None = Field(None, description="Signs it; your own secret (`GET /webhook-secret`) when not given.")


class BatchOptions(Body):
    """What holds for the whole batch."""

    priority: Annotated[int, Field(ge=0, le=9)] = Field(5, description="0 to 9, 9 the most urgent.")
    tags: Tags = Field(default_factory=list, description="Of the batch and of each item.")
    metadata: Metadata = Field(default_factory=dict, description="Given back with the batch and each item; 16 KB of JSON at most.")
    webhook: BatchWebhookRequest | None = Field(None, description="Who is notified about the end of the batch.")
    policy: PolicyRequest = Field(default_factory=PolicyRequest, description="Limits of each item.")


def parse_request(body: Any) -> SubmitRequest:
    """The typed request of a decoded JSON body.

    Raises:
        ValidationFailed: with a pointer into the body for each finding.
    """
    if not isinstance(body, dict):
        finding = {"pointer": "", "detail": "must be an object"}
        raise ValidationFailed("The body must be a JSON object with the member `input`.", errors=[finding])
    return parsed(SubmitRequest, body)


def parsed(kind: type[Asked], members: Any) -> Asked:
    """Decoded JSON as what it is to be.

    Raises:
        ValidationFailed: with a pointer for each finding.
    """
    try:
        return kind.model_validate(members)
    except ValidationError as error:
        raise ValidationFailed("The request is not valid.", errors=findings(error)) from None


def findings(error: ValidationError) -> list[dict[str, str]]:
    """What is wrong with a request, for the caller."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[:MOST_FINDINGS]
    return [_finding(dict(each)) for each in found]


def _finding(error: dict[str, Any]) -> dict[str, str]:
    detail = {"extra_forbidden": "unknown member", "missing": "missing"}.get(error["type"], error["msg"].removeprefix("Value error, "))
    return {"pointer": shorten(pointer("", error["loc"])), "detail": detail}
