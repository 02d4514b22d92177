"""One frozen `Settings`; environment variable `LONGRUN_<NAME>` before `.env` before the default given here."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from longrun.clock import MAX_DURATION
from longrun.errors import SettingsError

_PREFIX = "LONGRUN_"
#: The only variables of ours in the environment of a runner: they lead `longrun.Client` to a server.
_FOR_RUNNERS = frozenset({"LONGRUN_URL", "LONGRUN_PORT"})
_NOT_SETTINGS = frozenset({"LONGRUN_TEST_REQUIRE", "LONGRUN_URL", "LONGRUN_KEY"})  # URL, KEY: of the commands that call a server
_REMOVED = {
    "LONGRUN_BROKER_URL": "no setting any more: tickets travel in the store's own Redis (LONGRUN_REDIS_URL), never through another broker; "
    "take it out"
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
Seconds = Annotated[float, Field(gt=0, le=MAX_DURATION)]
SecondsOrZero = Annotated[float, Field(ge=0, le=MAX_DURATION)]
#: Seconds before each try of a webhook: what Standard Webhooks proposes, about three days in all.
WEBHOOK_SCHEDULE: tuple[float, ...] = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)


class Settings(BaseSettings):
    """Everything an operator may set. Durations are seconds, sizes are bytes."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_file=".env", extra="ignore", frozen=True)

    app: str = Field("", description="What to serve: `app.py`, `package.module` or either with `:Name`.")
    data: Path = Field(Path(".longrun"), description="Folder of the embedded Valkey (data, socket, log) and, by default, of files.")
    redis_url: str = Field(
        "",
        repr=False,
        description="`redis://`, `rediss://` or `unix://` of a Redis >= 6.2 or Valkey; empty = the embedded Valkey in `data`.",
    )
    prefix: str = Field("longrun:", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$", description="Prefix of every key in Redis.")

    blobs: str = Field("", description="Where files are kept: `s3://bucket/prefix` or `file:///folder`; empty = `blobs` in `data`.")
    durability: Literal["relaxed", "strict"] = Field(
        "relaxed", description="`strict`: what was accepted survives a power cut too (`appendfsync always`), and submits are slower."
    )

    host: str = Field("127.0.0.1", description="Address the API listens on. Anything but loopback needs `api_keys`.")
    port: int = Field(8000, ge=0, le=65535, description="Port the API listens on; 0 = any free port.")
    api_processes: int = Field(
        1,
        ge=1,
        le=256,
        description="API processes that share the port, under `longrun serve` and `longrun api`; a core each is a good number.",
    )
    api_keys: Annotated[dict[str, SecretStr], NoDecode] = Field(
        default_factory=dict, description="`tenant=key,tenant=key`; empty = open, on loopback only."
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Further Host names the API answers to, comma-separated; `*` = any."
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Foreign web origins that may call the API, comma-separated."
    )
    allowed_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Networks besides the public internet that URLs given by callers may lead to, as CIDR, comma-separated; `*` = any."
    )
    public_url: str = Field("", description="Prefix of the URLs in answers, such as `https://ai.example.com`; empty = path-absolute URLs.")
    max_body: int = Field(4 * 1024 * 1024, ge=1024, description="Largest request body, without files that are uploaded in it.")
    max_items: int = Field(
        1_000_000,
        ge=1000,
        description="How many values a JSON body may hold, counted by its commas and opening brackets; an object counts twice.",
    )
    max_file: int = Field(256 * 1024 * 1024, ge=1024, description="Largest file, given to a model or made by one; models may allow less.")
    fetch_urls: bool = Field(
        False, description="Whether a file input may be a URL, which the API then fetches (`https`, or what `allowed_networks` adds)."
    )
    fetch_timeout: Seconds = Field(10, description="How long fetching such a URL may take in all.")
    max_output: int = Field(16 * 1024 * 1024, ge=1024, description="Largest output of a job.")
    max_events: int = Field(100_000, ge=10, description="Events kept of a job; of a longer log the oldest go, and readers get a `gap`.")
    max_event_bytes: int = Field(32 * 1024 * 1024, ge=1024, description="Bytes of events kept of a job, likewise.")
    max_queued: int = Field(1_000_000, ge=1, description="Waiting jobs per lane before submits are answered 503 `queue-full`.")
    expose_errors: bool = Field(
        False, description="Show callers the text of exceptions that models raise. The log always has it, up to 16,000 characters."
    )

    lease: Seconds = Field(10, description="How long a claim holds without a heartbeat.")
    heartbeat: Seconds = Field(3, description="How often a worker renews its claims.")
    retention: SecondsOrZero = Field(86_400, description="How long a finished job is kept.")
    tombstone: Seconds = Field(7 * 86_400, description="How long a removed job is answered with 410.")
    store_timeout: Seconds = Field(2, description="How long a request waits for the store before it is answered 503.")
    max_crashes: int = Field(3, ge=1, description="Lost workers or dead runners after which a job fails with `worker-lost`.")

    webhook_schedule: Annotated[tuple[SecondsOrZero, ...], NoDecode] = Field(
        WEBHOOK_SCHEDULE,
        min_length=1,
        max_length=100,
        description="Seconds before each try of a webhook, comma-separated; there are as many tries.",
    )
    webhook_timeout: Seconds = Field(15, description="How long one try of a webhook may take in all.")

    processes: int | None = Field(None, ge=1, description="Runner processes per model; default: what the model says (1).")
    concurrency: int | None = Field(None, ge=1, description="Jobs at once in a runner; default: what the model says (sync 1, async 100).")
    threads: int | None = Field(
        None, ge=1, description="Threads that libraries compute with in a runner; default: the model's, else its share of the cores."
    )
    queues: Annotated[tuple[str, ...], NoDecode] = Field((), description="Queues this worker serves, comma-separated; empty = all.")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="Device handed to `load`: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`."
    )
    grace: SecondsOrZero = Field(
        30,
        description="How long a stopping worker lets running jobs finish before it hands them back, and a stopping API its answers.",
    )
    cancel_grace: SecondsOrZero = Field(
        1, description="From the request to stop a job to the end of its runner, when the job does not stop by itself."
    )
    drain: SecondsOrZero = Field(
        0, description="How long a stopping API still serves requests, with `/readyz` at 503; 5 behind a balancer or in Kubernetes."
    )
    capture_output: bool = Field(
        True, description="What a model prints while it runs a job becomes `log` events of that job, which its caller can read."
    )
    models_may_submit: bool = Field(
        False,
        description="Whether `longrun.submit` works inside models: their runners are then given the store's URL, in memory. Steps need "
        "nothing of this.",
    )
    rehearse: bool = Field(
        False, description="Let a job go at every wait for its steps, so that its code runs again from the beginning: a trial of replays."
    )
    max_tree: int = Field(10_000, ge=1, description="Most jobs below a job, as its steps; a model's `max_tree` counts up to this.")
    events: bool = Field(False, description="Send Celery task events, for Flower.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe message that is logged.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before `.env`; in a runner neither, but what its worker has given it."""
        return (init_settings,) if _given is not None else (init_settings, env_settings, dotenv_settings)

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if any(not tenant.strip() or not key.strip() for tenant, _, key in pairs):
            raise ValueError("write it as `tenant=key,tenant=key`")
        return {tenant.strip(): key.strip() for tenant, _, key in pairs}

    @field_validator("allowed_hosts", "allowed_origins", "allowed_networks", "queues", "webhook_schedule", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("allowed_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                text == "*" or ip_network(text)
            except ValueError as error:
                raise ValueError(f"{error}: write a network as `10.0.0.0/8` or `fd00::/8`, or `*` for any") from None
        return value

    @field_validator("redis_url")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        if value and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        try:
            _ = urlsplit(value).port
        except ValueError:  # its text may show a part of the password
            raise ValueError("is not a URL with a port; in a password write / as %2F, # as %23, ? as %3F and @ as %40") from None
        return value

    @field_validator("blobs")
    @classmethod
    def _known_place(cls, value: str) -> str:
        place = urlsplit(value)
        if place.query or place.fragment or place.username or place.password:
            raise ValueError(
                "only scheme, bucket and path; credentials and endpoint come from AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on"
            )
        local = place.scheme == "file" and place.netloc in ("", "localhost") and len(place.path) > 1
        if value and not local and not (place.scheme == "s3" and place.netloc):
            raise ValueError("write it as s3://bucket/prefix or file:///folder, or leave it empty for a folder in `data`")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.heartbeat * 2 > self.lease:
            raise ValueError(
                f"heartbeat ({self.heartbeat:g} s) must be at most half of lease ({self.lease:g} s), or one late beat loses the job"
            )
        if self.host not in LOOPBACK and not self.api_keys:
            raise ValueError(
                f"host {self.host} can be reached from other machines, and no api_keys are set: "
                "set LONGRUN_API_KEYS=me=<a long random key>, or keep host on 127.0.0.1"
            )
        return self


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` (from command-line options) win, those that are None do not count.

    Raises:
        SettingsError: naming each wrong value, the variable it came from, and why it is wrong.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    if _given is not None:
        return Settings(**_given | given)
    _refuse_typos()
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = [_explain(dict(finding), given) for finding in error.errors()]
        raise SettingsError("\n".join(lines)) from None


def _explain(finding: dict[str, Any], given: dict[str, Any]) -> str:
    message = finding["msg"].removeprefix("Value error, ")
    if not finding["loc"]:
        return f"settings: {message}"
    name = str(finding["loc"][0])
    source = f"--{name.replace('_', '-')}" if name in given else f"{_PREFIX}{name.upper()}"
    secret = name == "api_keys" or any(mark in str(finding["input"]) for mark in "@?")  # a URL with a password
    shown = "***" if secret else repr(finding["input"])
    return f"{source}={shown}: {message}"


# -- what each process is given (decision 46) ---------------------------------------------------------------------------------


def without_settings(env: Mapping[str, str]) -> dict[str, str]:
    """An environment for a process that reads no settings of ours: no `LONGRUN_…` in any spelling."""
    return {name: value for name, value in env.items() if not name.upper().startswith(_PREFIX)}


def worker_environment(env: Mapping[str, str]) -> dict[str, str]:
    """An environment for a worker: nobody calls it, and it calls no server, so it needs no API key."""
    return {name: value for name, value in env.items() if name.upper() not in ("LONGRUN_API_KEYS", "LONGRUN_KEY")}


def runner_environment(env: Mapping[str, str]) -> dict[str, str]:
    """An environment for a runner, which what a model starts inherits. All settings that it needs come over the pipe."""
    kept = {name: value for name, value in env.items() if name.upper() in _FOR_RUNNERS}
    return without_settings(env) | kept


def given_to_models(settings: Settings, store_url: str) -> dict[str, Any]:
    """What `load_settings` returns in a runner, as JSON values: no API keys, and the store's URL only where models may submit."""
    # `host` would ask for API keys.
    given = settings.model_dump(mode="json", exclude={"api_keys", "host"})
    return given | {"data": str(settings.data.absolute()), "redis_url": store_url if settings.models_may_submit else ""}


#: In a runner: what its worker has given it. Neither the environment nor `.env` is read there.
_given: dict[str, Any] | None = None
#: Loaded in processes that a model has spawned, and nowhere else.
_SPAWNED = "longrun.worker.runner.unhidden"


def use_given(given: dict[str, Any]) -> None:
    """From now on these are the settings of this process, a runner."""
    global _given  # noqa: PLW0603 - it is a fact about the process
    _given = given


def check_store_may_be_used() -> None:
    """To be called before the store's URL is looked for. Raises SettingsError where models may not have it."""
    if _given is None and _SPAWNED in sys.modules:
        raise SettingsError(
            "This process was started by a model, and such a process does not know the store: call longrun.submit in the process that "
            "runs the job, or call the API with longrun.Client."
        )
    if _given is not None and not load_settings().models_may_submit:
        raise SettingsError(
            "longrun.submit does not work inside models, unless LONGRUN_MODELS_MAY_SUBMIT is 1. To run another model and have its result, "
            "write job.run(Model, …). For jobs that have nothing to do with this one, job.call(…, detached=True), or set "
            "LONGRUN_MODELS_MAY_SUBMIT=1 for the worker and start it again."
        )


def _refuse_typos() -> None:
    """A misspelt variable would silently leave the default in force, so it is an error with a suggestion."""
    known = {f"{_PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in (*os.environ, *DotEnvSettingsSource(Settings).env_vars):
        if name.upper() in _REMOVED:
            raise SettingsError(f"{name.upper()}: {_REMOVED[name.upper()]}")
    for name in os.environ:
        if name.upper().startswith(_PREFIX) and name.upper() not in known | _NOT_SETTINGS:
            close = difflib.get_close_matches(name.upper(), known, n=1)
            raise SettingsError(f"{name}: unknown setting" + (f", did you mean {close[0]}?" if close else ""))
