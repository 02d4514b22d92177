"""Each process of `longrun serve` has what it needs of the settings, and no more."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.conftest import ROOT, Serve

import longrun

LOOK = str(ROOT / "tests" / "integration" / "worker" / "models_that_look_around.py")
KEY = "a-key-of-a-tenant"


def test_only_those_that_answer_callers_have_the_keys_and_no_model_has_the_way_to_the_store(serve: Serve, tmp_path: Path) -> None:
    env = {"LONGRUN_API_KEYS": f"me={KEY}", "LONGRUN_KEY": KEY, "LONGRUN_CONCURRENCY": "2", "LONGRUN_MODELS_MAY_SUBMIT": "1"}
    service = serve(f"{LOOK}:Looker,calls,leaf", folder=tmp_path, **env)
    with longrun.Client(service.url, KEY) as client:
        looked = json.loads(client.run("looker"))
        assert client.run("calls") == "done"
    for name, found in {**looked.pop("job"), **looked}.items():
        assert KEY not in json.dumps(found), name
        if name != "settings":
            assert str(service.data) not in json.dumps(found), name
    assert KEY in json.dumps(service.role("api").environ())
    assert KEY not in json.dumps(service.role("worker").environ())
