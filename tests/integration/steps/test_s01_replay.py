"""S1 to S7: a parent runs again from its top, and what it asked for before is found."""

from __future__ import annotations

from pathlib import Path

from tests.integration.steps.conftest import BOTH, Service, Steps

APP = Path(__file__).with_name("models_that_replay.py")
WORKERS = [("--rehearse",)]


@BOTH
async def test_s01_what_ended_is_never_made_or_called_again(steps: Steps, service: Service, kind: str) -> None:
    """Let go at every wait."""
    job_id = await steps.submit(f"every_kind{kind}")
    await steps.step(job_id, "s:word")
    assert (await steps.post(job_id, "signals/word", "said")).status_code == 200
    await steps.called("last")
    steps.open("last")
    assert await steps.output(job_id) == ["child done", "local paid", None, "said", "last done"]
    assert steps.calls["flow"] >= 3
    assert {name: times for name, times in steps.calls.items() if name != "flow"} == {"child": 1, "local": 1, "last": 1}
