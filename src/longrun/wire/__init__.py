"""Every answer once: a struct is the JSON that callers get, its order of members included, and the schema in the OpenAPI document."""

from longrun.wire.base import Answer, as_it_is, encode
from longrun.wire.batches import Batch, BatchCounts, BatchPage, BatchResult, BatchUrls
from longrun.wire.events import Event, EventPage, StreamedEvent, event_json, event_view
from longrun.wire.files import File, FileForm, OutputFile
from longrun.wire.jobs import Attempt, AttemptList, Job, JobMessage, JobPage, JobUrls, OutputSoFar, Policy, Webhook
from longrun.wire.operations import (  # fmt: skip
    Lane,
    LaneBatches,
    Live,
    Model,
    ModelList,
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
from longrun.wire.problems import Finding, JobProblem, JobUnsuccessful, Problem
from longrun.wire.signals import Ask, AskUrls, Signal
from longrun.wire.steps import Step, StepUrls, Tree
from longrun.wire.webhooks import Delivery, DeliveryPage, DeliveryTry, Endpoint, EndpointList, Secret

__all__ = [
    "Answer", "Ask", "AskUrls", "Attempt", "AttemptList", "Batch", "BatchCounts", "BatchPage", "BatchResult", "BatchUrls", "Delivery",
    "DeliveryPage", "DeliveryTry", "Endpoint", "EndpointList", "Event", "EventPage", "File", "FileForm", "Finding", "Job", "JobMessage",
    "JobPage", "JobProblem", "JobUnsuccessful", "JobUrls", "Lane", "LaneBatches", "Live", "Model", "ModelList", "ModelStats",
    "OutputFile", "OutputSoFar", "Policy", "Problem", "Queue", "QueueList", "Ready", "Redriven", "RedrivenJob", "Scale", "Secret",
    "Signal", "SkippedJob", "Stats", "Step", "StepUrls", "StreamedEvent", "Tree", "Webhook", "WorkerList", "as_it_is", "encode",
    "event_json", "event_view",
]  # fmt: skip
