"""S23: what people answer counts once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.integration.steps.conftest import BOTH, Service, Steps

APP = Path(__file__).with_name("models_that_ask.py")
ANSWER = {"ok": True, "note": "fine"}


def seen(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


@BOTH
async def test_s23_an_answer_counts_once_for_all_who_wait_for_it(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"asks_twice{kind}")
    (asked,) = (await asking(steps, job_id))["asks"]
    left = datetime.fromisoformat(asked["until"]) - datetime.now(UTC)
    assert 7 * 86_400 - 60 < left.total_seconds() <= 7 * 86_400
    wrong = await steps.post(job_id, "signals/approve", {"ok": "perhaps"})
    assert seen(wrong) == (422, "validation-failed")
    assert wrong.json()["errors"][0]["pointer"] == "/ok"
    assert (await steps.job(job_id))["status"] == "waiting"
    assert seen(await steps.post(job_id, "signals/approve", ANSWER)) == (200, "")
    assert seen(await steps.post(job_id, "signals/approve", dict(reversed(ANSWER.items())))) == (200, "")
    assert seen(await steps.post(job_id, "signals/approve", {"ok": False})) == (409, "already-answered")
    assert await steps.output(job_id) == [True, "fine", True, "fine", True]
    # After its end: what was answered is still so; anything else is too late.
    assert seen(await steps.post(job_id, "signals/approve", {"ok": False}))[0] == 409
    assert seen(await steps.post(job_id, "signals/other", 1)) == (409, "job-ended")


async def test_s23_the_link_needs_no_key_and_answers_once(steps: Steps) -> None:
    job_id = await steps.submit("asks_twice")
    (asked,) = (await asking(steps, job_id))["asks"]
    link = asked["urls"]["signal"]
    assert "sig=" in link and "expires=" in link
    shown = await steps.http.get(link)
    assert (shown.status_code, shown.json()["open"]) == (200, True)
    assert (await steps.job(job_id))["status"] == "waiting"
    forged = await steps.http.post(link[:-2] + ("aa" if link[-2:] != "aa" else "bb"), json=ANSWER)
    assert forged.status_code == 403
    assert seen(await steps.http.post(link, json=ANSWER)) == (200, "")
    assert seen(await steps.http.post(link, json=ANSWER)) == (200, "")
    assert seen(await steps.http.post(link, json={"ok": False})) == (409, "already-answered")
    assert await steps.output(job_id) == [True, "fine", True, "fine", True]


@pytest.mark.slow
@BOTH
async def test_s23_after_its_deadline_a_wait_is_over_for_good(own: Service, mine: Steps, kind: str) -> None:
    own.start("--queues", "work")
    own.start("--queues", "flow")
    job_id = await mine.submit(f"asks_in_time{kind}")
    await mine.called("after")
    assert (await mine.tree(job_id))[0]["status"] == "failed"
    assert seen(await mine.post(job_id, "signals/approve", ANSWER)) == (409, "wait-timeout")
    # At replay it is over too.
    own.restart("--queues", "flow")
    mine.open("after")
    assert await mine.output(job_id) == [["wait-timeout", "s:approve"], ["wait-timeout", "s:approve"], "after done"]
    assert mine.calls["after"] == 1 and mine.calls["flow"] == 2
    assert seen(await mine.post(job_id, "signals/approve", ANSWER))[0] == 409


async def asking(steps: Steps, job_id: str) -> dict[str, Any]:
    await steps.step(job_id, "s:approve")
    return await steps.job(job_id)
