"""Every answer once: a struct is the JSON that callers get, its order of members included, and the schema in the OpenAPI document."""

from longrun.wire.base import Answer, as_it_is, encode
from longrun.wire.batches import Batch, BatchCounts, BatchPage, BatchResult, BatchUrls
from longrun.wire.events import Event, EventPage, Retrying, StreamedEvent
from longrun.wire.files import File, FileForm, OutputFile
from longrun.wire.jobs import Attempt, AttemptList, Job, JobMessage, JobPage, JobUrls, OutputSoFar, Policy, Webhook
from longrun.wire.models import Model, ModelList
from longrun.wire.operations import (
    Lane,
    LaneBatches,
    Live,
    ModelStats,
    Queue,
    QueueList,
    Ready,
    Redriven,
    RedrivenJob,
    Scale,
    SkippedJob,
    Stats,
    WorkerList,
)
from longrun.wire.problems import JobProblem, JobUnsuccessful, Problem
from longrun.wire.webhooks import Delivery, DeliveryPage, DeliveryTry, Endpoint, EndpointList, JobMoment, Message, Secret, TestText

__all__ = [
    "Answer", "Attempt", "AttemptList", "Batch", "BatchCounts", "BatchPage", "BatchResult", "BatchUrls", "Delivery", "DeliveryPage",
    "DeliveryTry", "Endpoint", "EndpointList", "Event", "EventPage", "File", "FileForm", "Job", "JobMessage", "JobMoment", "JobPage",
    "JobProblem", "JobUnsuccessful", "JobUrls", "Lane", "LaneBatches", "Live", "Message", "Model", "ModelList", "ModelStats",
    "OutputFile", "OutputSoFar", "Policy", "Problem", "Queue", "QueueList", "Ready", "Redriven", "RedrivenJob", "Retrying", "Scale",
    "Secret", "SkippedJob", "Stats", "StreamedEvent", "TestText", "Webhook", "WorkerList", "as_it_is", "encode",
]  # fmt: skip
