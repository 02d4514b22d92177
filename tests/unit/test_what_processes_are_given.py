"""Which settings the processes of a service are given: each what it needs, and none of them what is somebody else's secret."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import SecretStr

import longrun.settings
from longrun.cli.show import shown_url
from longrun.errors import SettingsError
from longrun.settings import (
    Settings,
    check_store_may_be_used,
    given_to_models,
    load_settings,
    runner_environment,
    use_given,
    without_settings,
    worker_environment,
)
from longrun.wiring import create_app

STORE = "rediss://user:passw0rd@store:6379/0"
#: Settings whose names sound like secrets, and are none. A secret is to be kept from runners, in `given_to_models`.
NO_SECRETS = {"public_url", "fetch_urls", "max_body", "webhook_schedule", "webhook_timeout"}
SOUNDS_SECRET = re.compile(r"key|secret|token|passw|credential|sign|url|webhook|auth|cert")


@pytest.fixture
def in_runner(monkeypatch: pytest.MonkeyPatch) -> Any:
    """This process has been given settings, as a runner is; the environment and `.env` say something else."""
    monkeypatch.setattr(longrun.settings, "_given", None)

    def use(settings: Settings) -> None:
        monkeypatch.setenv("LONGRUN_REDIS_URL", "redis://elsewhere")
        monkeypatch.setenv("LONGRUN_API_KEYS", "me=topsecret")
        use_given(given_to_models(settings, STORE))

    return use


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
@pytest.mark.parametrize("spelt", [str.upper, str.lower, str.title])
def test_no_setting_is_in_the_environment_of_a_runner(name: str, spelt: Any) -> None:
    variable = spelt(f"LONGRUN_{name}")
    kept = {variable} if name == "port" else set()  # leads `longrun.Client` to the server
    assert set(runner_environment({variable: "x"})) == kept
    assert without_settings({variable: "x", "PATH": "/bin"}) == {"PATH": "/bin"}


def test_what_is_not_ours_stays_in_the_environment_of_a_runner() -> None:
    others = {"PATH": "/bin", "REDIS_URL": "redis://a-cache", "CELERY_BROKER_URL": "amqp://", "AWS_SECRET_ACCESS_KEY": "of the bucket"}
    client = {"LONGRUN_URL": "http://127.0.0.1:1", "LONGRUN_PORT": "1"}
    assert runner_environment(others | client | {"LONGRUN_KEY": "k"}) == others | client


def test_a_worker_gets_no_key_of_a_tenant() -> None:
    ours = {"LONGRUN_REDIS_URL": STORE, "LONGRUN_LEASE": "5", "PATH": "/bin"}
    assert worker_environment(ours | {"LONGRUN_API_KEYS": "me=k", "longrun_api_keys": "me=k", "LONGRUN_KEY": "k"}) == ours


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_setting_that_is_a_secret_is_kept_from_models(name: str) -> None:
    """Fails for a new setting that sounds like a secret until somebody has decided."""
    secret = "SecretStr" in str(Settings.model_fields[name].annotation) or (SOUNDS_SECRET.search(name) and name not in NO_SECRETS)
    given = given_to_models(Settings(api_keys={"me": SecretStr("k")}, redis_url=STORE, models_may_submit=False), STORE)
    assert not (secret and given.get(name)), name


def test_a_model_has_the_settings_of_its_worker_and_not_those_of_the_environment(in_runner: Any, tmp_path: Path) -> None:
    settings = Settings(
        host="0.0.0.0",
        api_keys={"me": SecretStr("k")},
        prefix="p:",
        lease=7,
        heartbeat=1,
        data=Path("here"),
        queues=("a", "b"),
        models_may_submit=True,
    )
    in_runner(settings)
    read = load_settings()
    assert (read.redis_url, read.api_keys, read.host) == (STORE, {}, "127.0.0.1")
    alike = Settings.model_fields.keys() - {"redis_url", "api_keys", "host", "data"}
    assert {name: getattr(read, name) for name in alike} == {name: getattr(settings, name) for name in alike}
    assert read.data == Path("here").absolute()
    check_store_may_be_used()
    assert Settings().api_keys == {}, "not by another way either"


def test_a_model_that_may_not_submit_has_no_url(in_runner: Any) -> None:
    in_runner(Settings())
    assert load_settings().redis_url == ""
    with pytest.raises(SettingsError, match="set LONGRUN_MODELS_MAY_SUBMIT=1 for the worker"):
        check_store_may_be_used()
    # A file that holds models and an application is imported in runners too.
    assert create_app(models=[])


def test_what_a_model_spawns_does_not_know_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    check_store_may_be_used()
    monkeypatch.setitem(sys.modules, "longrun.worker.runner.unhidden", ModuleType("unhidden"))
    with pytest.raises(SettingsError, match="started by a model"):
        check_store_may_be_used()


@pytest.mark.parametrize(
    "url", ["redis://:pa/ssw0rd@h:1/0", "redis://:pa#ssw0rd@h:1/0", "redis://u:passw0rd@h:port/0", "http://h?password=passw0rd"]
)
def test_a_url_that_is_wrong_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LONGRUN_REDIS_URL", url)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "LONGRUN_REDIS_URL=***" in str(caught.value)
    assert re.search(r"pa\b|ssw0rd", str(caught.value)) is None


def test_the_stores_url_is_shown_without_its_password() -> None:
    assert "passw0rd" not in repr(Settings(redis_url=STORE))
    shown = [shown_url(url) for url in (STORE, "redis://store:1/0?password=passw0rd", "redis://store:1", "unix:///a/b.sock?password=x")]
    assert shown == ["store:6379/0", "redis://store:1/0", "redis://store:1", "unix:///a/b.sock"]
