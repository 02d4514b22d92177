"""The command line against the real service: every process is real, and some are killed."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from longrun.cli.listen import listen

from .conftest import HELLO, LONGRUN, PLAIN, Serve, Service, longrun, wait_for


def state(job_id: str, url: str) -> str:
    return str(httpx.get(f"{url}/api/v1/jobs/{job_id}", timeout=30).json()["status"])


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=30).is_success
    except httpx.TransportError:
        return False


def test_a_job_is_submitted_followed_and_printed(hello: Service) -> None:
    done = longrun("run", "shout", "text=hello world", "marks=3", url=hello.url)

    assert (done.returncode, done.stdout) == (0, "HELLO WORLD!!!\n")


def test_the_lines_of_the_greeting_can_be_copied(hello: Service) -> None:
    submit, wait, run = (line.strip() for line in hello.lines if line.startswith(("  curl", "  longrun")))

    job = json.loads(subprocess.run(shlex.split(submit), capture_output=True, check=True).stdout)
    waited = subprocess.run(shlex.split(wait.replace("ID_FROM_ABOVE", job["id"])), capture_output=True, check=True)
    assert json.loads(waited.stdout)["status"] == "succeeded"
    done = subprocess.run([*LONGRUN, *shlex.split(run)[1:]], capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"cup": "tea"})


def test_text_is_printed_while_it_comes(hello: Service) -> None:
    text = " ".join(["word"] * 30)  # three seconds of them
    words = [*LONGRUN, "run", "tell", f"text={text}", "--url", hello.url]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = os.read(process.stdout.fileno(), 100)
        first_at = time.monotonic()
        rest, said = process.communicate(timeout=60)

    assert (first + rest).decode().startswith(f"{text} (told on ")
    assert time.monotonic() - first_at > 0.2
    assert b"telling" in said
    assert process.returncode == 0


def test_json_gives_the_whole_job_and_nothing_else(hello: Service) -> None:
    done = longrun("run", "tell", "text=a b", "--json", "--priority", "9", url=hello.url)

    job = json.loads(done.stdout)
    assert (job["status"], job["priority"]) == ("succeeded", 9)
    assert job["output"].startswith("a b (told on ")


def test_a_failure_is_exit_code_1_with_its_reason(hello: Service) -> None:
    done = longrun("run", "square_root", "value=-4", url=hello.url)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].endswith("failed: model-error: a negative number has no real square root")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["shout"], "/input/text: Field required"),
        (["shout", "text=x", "marks=11"], "/input/marks: "),
        (["shout", "text=x", "volume=11"], "/input/volume: "),
        (["whisper", "text=x"], "unknown-model: "),
    ],
)
def test_what_the_server_refuses_is_exit_code_2_with_the_place(hello: Service, words: list[str], told: str) -> None:
    done = longrun("run", *words, url=hello.url)

    assert done.returncode == 2
    assert told in done.stderr
    assert "request id: " in done.stderr


def test_a_canceled_job_is_exit_code_3(hello: Service) -> None:
    words = [*LONGRUN, "run", "brew", "drink=tea", "seconds=60", "--tag-is-not-an-option"]
    assert subprocess.run(words, capture_output=True).returncode == 2

    with subprocess.Popen([*words[:-1], "--url", hello.url], stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: longrun("jobs", "ls", "--model", "brew", "--status", "running", url=hello.url).stdout != "")
        (line,) = longrun("jobs", "ls", "--model", "brew", "--status", "running", url=hello.url).stdout.splitlines()
        canceled = longrun("jobs", "cancel", line.split("\t")[0], url=hello.url)
        _, said = process.communicate(timeout=60)

    assert canceled.returncode == 0
    assert process.returncode == 3
    assert said.splitlines()[-1].startswith(f"{line.split(chr(9))[0]} canceled")


def test_ctrl_c_stops_the_waiting_not_the_job(hello: Service) -> None:
    with subprocess.Popen(
        [*LONGRUN, "run", "brew", "drink=tea", "seconds=15", "--url", hello.url], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = ""
        while "running" not in said:
            said += process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=60)[1]

    assert process.returncode == 130
    job_id = next(word for word in said.split() if word.startswith("job_"))
    assert f"longrun jobs cancel {job_id} --url {hello.url}" in said
    assert state(job_id, hello.url) == "running"
    followed = longrun("jobs", "show", job_id, "--wait", url=hello.url)
    assert (followed.returncode, json.loads(followed.stdout)) == (0, {"cup": "tea"})


def test_the_time_limit_is_exit_code_124(hello: Service) -> None:
    started = time.monotonic()

    done = longrun("run", "brew", "drink=tea", "seconds=60", "--timeout", "1", url=hello.url)

    assert done.returncode == 124
    assert time.monotonic() - started < 50
    assert "goes on without us" in done.stderr


def test_jobs_are_listed_shown_and_retried(hello: Service) -> None:
    job_id = longrun("run", "square_root", "value=-1", "--no-wait", url=hello.url).stdout.strip()
    wait_for(lambda: state(job_id, hello.url) == "failed")

    listed = json.loads(longrun("jobs", "ls", "--model", "square_root", "--status", "failed", "--json", url=hello.url).stdout)
    assert job_id in [job["id"] for job in listed]
    new_id, status = longrun("jobs", "retry", job_id, url=hello.url).stdout.split()
    assert new_id != job_id
    assert status in ("queued", "running", "failed")  # the worker may have been quicker than the answer
    assert f"retry_of\t{job_id}" in longrun("jobs", "show", new_id, url=hello.url).stdout.splitlines()
    assert longrun("jobs", "retry", new_id.replace("job_0", "job_f"), url=hello.url).returncode == 1


def test_models_are_listed_and_shown(hello: Service) -> None:
    names = [line.split("\t")[0] for line in longrun("models", url=hello.url).stdout.splitlines()]
    assert names == ["brew", "count", "shout", "square_root", "tell"]
    assert json.loads(longrun("models", "shout", url=hello.url).stdout)["input_schema"]["required"] == ["text"]


def test_a_second_service_on_the_same_folder_is_refused(hello: Service) -> None:
    done = longrun("serve", HELLO, "--port", "0", "--data", str(hello.data))

    assert done.returncode == 2
    assert f"is already served by process {hello.process.pid}" in done.stderr


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        done = longrun("serve", HELLO, "--port", str(taken.getsockname()[1]), "--data", str(tmp_path / "data"))

    assert done.returncode == 2
    assert "is in use" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import no_such_library\n", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("x = 1\n", "holds no model"),
        ("from longrun import model\n@model\ndef f(x) -> str: ...\n", "x has no type"),
        (None, "there is no Python file"),
    ],
)
def test_an_app_that_cannot_be_served_ends_with_its_error_said_once(tmp_path: Path, code: str | None, told: str) -> None:
    if code is not None:
        (tmp_path / "mine.py").write_text(code)

    done = longrun("serve", str(tmp_path / "mine.py"), "--port", "0", "--data", str(tmp_path / "data"))

    assert done.returncode == 2
    assert done.stderr.count("error: ") == 1
    assert told in done.stderr.partition("error: ")[2]
    assert "starting it again" not in done.stderr


def test_a_stop_takes_everything_along_and_a_running_job_is_not_lost(serve: Serve) -> None:
    service = serve(LONGRUN_GRACE="0.5")
    job_id = longrun("run", "brew", "drink=tea", "seconds=6", "--no-wait", url=service.url).stdout.strip()
    wait_for(lambda: state(job_id, service.url) == "running")

    status, _ = service.stop(signal.SIGINT)

    assert status == 0, service.output
    wait_for(lambda: service.left() == [])
    again = serve()
    followed = longrun("jobs", "show", job_id, "--wait", "--json", url=again.url)
    assert followed.returncode == 0, followed.stderr
    assert json.loads(followed.stdout)["attempt"] == 2
    status, _ = again.stop(signal.SIGTERM)
    assert status == 0, again.output


def test_a_second_ctrl_c_does_not_wait_for_running_jobs(serve: Serve) -> None:
    service = serve(LONGRUN_GRACE="600")
    job_id = longrun("run", "brew", "drink=tea", "seconds=60", "--no-wait", url=service.url).stdout.strip()
    wait_for(lambda: state(job_id, service.url) == "running")
    service.processes()

    service.process.send_signal(signal.SIGINT)
    wait_for(lambda: "does not wait for running jobs" in service.output)
    _, took = service.stop()

    assert took < 50
    wait_for(lambda: service.left() == [])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_nothing_outlives_a_supervisor_that_was_killed(serve: Serve) -> None:
    service = serve()
    assert service.url
    assert len(service.processes()) >= 4

    service.process.kill()
    service.process.wait()

    wait_for(lambda: service.left() == [])  # the worker first waits for a store that went with the supervisor


def test_a_killed_worker_comes_back_and_its_job_ends(serve: Serve) -> None:
    service = serve()
    job_id = longrun("run", "brew", "drink=tea", "seconds=5", "--no-wait", url=service.url).stdout.strip()
    wait_for(lambda: state(job_id, service.url) == "running")

    service.role("worker").kill()

    assert longrun("jobs", "show", job_id, "--wait", "--timeout", "60", url=service.url).returncode == 0
    wait_for(lambda: "worker was killed by SIGKILL after " in service.output)


def test_a_killed_api_comes_back_on_its_port_while_callers_wait(serve: Serve) -> None:
    service = serve()
    with subprocess.Popen(
        [*LONGRUN, "run", "brew", "drink=tea", "seconds=3", "--url", service.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while "running" not in process.stderr.readline():
            pass
        service.role("api").kill()
        told = longrun("run", "shout", "text=still here", url=service.url)
        out, err = process.communicate(timeout=60)

    assert (told.returncode, told.stdout) == (0, "STILL HERE!\n")
    assert (process.returncode, json.loads(out)) == (0, {"cup": "tea"}), err


def test_a_killed_valkey_comes_back_with_what_it_held(serve: Serve) -> None:
    service = serve()
    job_id = longrun("run", "shout", "text=before", "--no-wait", url=service.url).stdout.strip()
    wait_for(lambda: state(job_id, service.url) == "succeeded")
    time.sleep(1.1)  # `relaxed` durability: the disk is one second behind

    service.role("valkey").kill()
    wait_for(lambda: "the embedded server has ended; starting it again" in service.output)

    assert longrun("run", "shout", "text=after", url=service.url).stdout == "AFTER!\n"
    assert state(job_id, service.url) == "succeeded"


def test_with_keys_only_who_has_one_gets_in(serve: Serve) -> None:
    service = serve(LONGRUN_API_KEYS="me=a-long-secret")

    assert longrun("run", "shout", "text=x", url=service.url).returncode == 1
    assert longrun("run", "shout", "text=x", url=service.url, LONGRUN_KEY="a-long-secret").stdout == "X!\n"
    assert "a-long-secret" not in service.output
    assert all("a-long-secret" not in " ".join(process.cmdline()) for process in service.processes() if psutil.pid_exists(process.pid))


def test_another_worker_and_another_api_attach_to_a_service_by_its_folder(serve: Serve, tmp_path: Path) -> None:
    service = serve()
    assert service.url
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    data = ["--data", str(service.data)]
    roles = [
        subprocess.Popen([*LONGRUN, "api", PLAIN, "--port", str(port), *data]),
        subprocess.Popen([*LONGRUN, "worker", PLAIN, "--name", "second", *data], stderr=subprocess.DEVNULL),
    ]
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(url))
        assert longrun("run", "shout", "text=two", url=url).stdout == "TWO!\n"
    finally:
        for role in roles:
            role.terminate()
    assert [role.wait(timeout=60) for role in roles] == [0, 0]
