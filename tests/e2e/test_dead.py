"""`longrun dead` against the real service."""

from __future__ import annotations

import json

from tests.e2e.conftest import Service, longrun, wait_for


def test_dead_letters_are_listed_shown_redriven_and_discarded(hello: Service) -> None:
    for value in (-1, -4):
        assert longrun("run", "square_root", f"value={value}", url=hello.url).returncode == 1

    listed = [line.split("\t") for line in longrun("dead", "ls", "--code", "model-error", url=hello.url).stdout.splitlines()]
    assert [(row[1], row[2], row[3]) for row in listed] == [("square_root", "model-error", "1")] * 2
    old = listed[0][0]
    shown = longrun("dead", "show", old, url=hello.url)
    assert "attempt\t1\tfailed\t" in shown.stdout
    assert f"{old} failed: model-error: a negative number has no real square root" in shown.stderr

    redriven = longrun("dead", "redrive", "--all", url=hello.url)
    assert (redriven.returncode, len(redriven.stdout.splitlines())) == (0, 2)
    again = dict(line.split("\t") for line in redriven.stdout.splitlines())
    assert set(again) == {row[0] for row in listed}

    def dead() -> list[str]:
        return [job["id"] for job in json.loads(longrun("dead", "ls", "--json", url=hello.url).stdout)]

    wait_for(lambda: sorted(dead()) == sorted(again.values()))
    discarded = longrun("dead", "discard", *again.values(), old, url=hello.url)
    assert discarded.stdout.splitlines() == [f"{job_id}\tdiscarded" for job_id in [*again.values(), old]]
    assert dead() == []
    assert longrun("dead", "discard", old, url=hello.url).returncode == 1
