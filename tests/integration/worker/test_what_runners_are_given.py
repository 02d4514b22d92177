"""What a runner, and so a model and all that it starts, is given of the settings: no API key, and the store by `longrun.submit` alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import orjson
import psutil
import pytest
from tests.integration.worker.conftest import Caller, Worker

from longrun.settings import Settings

APP = Path(__file__).with_name("models_that_look_around.py")
KEY = "a-key-of-a-tenant"
Start = Callable[..., Worker]


@pytest.fixture(params=["environment", "spelt otherwise", "file"])
def given(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> dict[str, str]:
    """Variables of a worker that is given API keys and the store's URL; in the file they are in `.env`."""
    keys = {"LONGRUN_API_KEYS": f"me={KEY}", "LONGRUN_KEY": KEY}
    if request.param == "environment":
        return keys
    if request.param == "spelt otherwise":
        return {"longrun_api_keys": f"me={KEY}", "Longrun_Redis_Url": settings.redis_url, "longrun_key": KEY}
    values = keys | {"LONGRUN_REDIS_URL": settings.redis_url, "LONGRUN_HOST": "0.0.0.0"}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return {}


async def test_no_model_finds_a_key_or_the_store(
    start_worker: Start, caller: Caller, settings: Settings, tmp_path: Path, given: dict[str, str]
) -> None:
    start_worker(app=APP, models="Looker,look,look_main", folder=tmp_path, **given)
    seen = {name: (await caller.run(name)).output or b"" for name in ("looker", "look", "look_main")}
    for name, output in seen.items():
        text = orjson.loads(output)
        assert json.loads(text), name
        assert KEY not in text, name
        assert settings.redis_url not in text, name
        # The embedded store's socket is in the data folder.
        assert "valkey.sock" not in text, name
        assert {each for each in ("LONGRUN_DATA", "LONGRUN_REDIS_URL") if each in text.upper()} == set(), name
    looked = json.loads(orjson.loads(seen["looker"]))
    assert not [each for each in looked["job"]["spawn"]["descriptors"] if each.startswith("socket:")]


async def test_what_stands_beside_runners_has_no_settings_in_its_environment(
    start_worker: Start, caller: Caller, settings: Settings
) -> None:
    worker = start_worker(app=APP, models="leaf", LONGRUN_API_KEYS=f"me={KEY}")
    assert (await caller.run("leaf")).status == "succeeded"
    children = psutil.Process(worker.process.pid).children(recursive=True)
    assert len(children) > 1  # the runner and the guard
    for child in children:
        assert {name for name in child.environ() if name.startswith("LONGRUN_")} == set(), child.cmdline()
        assert settings.redis_url not in " ".join(child.cmdline())


async def test_a_model_may_submit_but_not_what_it_starts(start_worker: Start, caller: Caller, tmp_path: Path) -> None:
    start_worker(app=APP, models="calls,children_call,leaf", folder=tmp_path, LONGRUN_CONCURRENCY="2", LONGRUN_MODELS_MAY_SUBMIT="1")
    assert orjson.loads((await caller.run("calls")).output or b"") == "done"
    found = orjson.loads((await caller.run("children_call")).output or b"")
    assert found["fork"] == "done"
    assert found["spawn"].startswith("SettingsError: This process was started by a model")
    assert found["python"].startswith("SettingsError: No store")


async def test_where_models_may_not_submit_the_error_names_the_setting(
    start_worker: Start, caller: Caller, settings: Settings, tmp_path: Path
) -> None:
    # A file that would lead there all the same.
    (tmp_path / ".env").write_text(f"LONGRUN_REDIS_URL={settings.redis_url}\nLONGRUN_PREFIX={settings.prefix}\n")
    start_worker(app=APP, models="calls,children_call,leaf", folder=tmp_path, LONGRUN_CONCURRENCY="2")
    said = orjson.loads((await caller.run("calls")).output or b"")
    assert said.startswith("SettingsError: longrun.submit does not work inside models, unless LONGRUN_MODELS_MAY_SUBMIT is 1.")
    found = orjson.loads((await caller.run("children_call")).output or b"")
    assert "LONGRUN_MODELS_MAY_SUBMIT" in found["fork"]
    assert found["spawn"].startswith("SettingsError: This process was started by a model")
    # Everything else of a job needs nothing of this.
    assert (await caller.run("leaf")).status == "succeeded"


async def test_a_worker_needs_no_key_wherever_the_api_listens(start_worker: Start, caller: Caller) -> None:
    start_worker(app=APP, models="leaf", LONGRUN_HOST="0.0.0.0")
    assert (await caller.run("leaf")).status == "succeeded"
