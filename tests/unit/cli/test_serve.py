"""What `serve` settles before it starts anything, and what it prints when it is ready."""

from __future__ import annotations

import shlex
import socket
from pathlib import Path

import pytest

from longrun.cli.listen import listen, url_of
from longrun.cli.serve import child_environment, chosen_grace, greeting
from longrun.errors import SettingsError
from longrun.settings import load_settings

SHOUT = {"name": "shout", "input_schema": {"properties": {"text": {"type": "string"}}, "required": ["text"]}}


def test_children_get_what_the_command_line_has_settled(tmp_path: Path) -> None:
    settings = load_settings(app="app.py", data=Path("here"), processes=2, queues="gpu,llm", port=0)

    env = child_environment({"PATH": "/bin", "LONGRUN_PORT": "1"}, settings, "unix:///s", "http://127.0.0.1:4321")

    assert env["PATH"] == "/bin"
    assert env["LONGRUN_APP"] == "app.py"
    assert env["LONGRUN_PORT"] == "4321"
    assert env["LONGRUN_DATA"] == str(tmp_path / "here")
    assert env["LONGRUN_PROCESSES"] == "2"
    assert env["LONGRUN_QUEUES"] == "gpu,llm"
    assert env["LONGRUN_REDIS_URL"] == "unix:///s"
    assert env["LONGRUN_GRACE"] == "2.0"
    assert "LONGRUN_CONCURRENCY" not in env


def test_children_read_the_same_settings_back(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(app="app.py", queues="gpu,llm", device="cpu", concurrency=3)
    for name, value in child_environment({}, settings, "unix:///s", "http://127.0.0.1:4321").items():
        monkeypatch.setenv(name, value)

    read = load_settings()

    assert (read.app, read.queues, read.device, read.concurrency) == ("app.py", ("gpu", "llm"), "cpu", 3)
    assert (read.redis_url, read.port) == ("unix:///s", 4321)


def test_the_grace_is_short_unless_it_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_grace(load_settings()) == 2.0
    monkeypatch.setenv("LONGRUN_GRACE", "45")
    assert chosen_grace(load_settings()) == 45.0


def test_where_the_commands_call_is_no_unknown_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGRUN_URL", "http://x")
    monkeypatch.setenv("LONGRUN_KEY", "secret")

    load_settings()


def test_the_greeting_has_lines_to_copy() -> None:
    lines = greeting("http://127.0.0.1:4321", "Valkey in .longrun", [SHOUT], keyed=False)

    assert lines[0].startswith("Longrun is ready at http://127.0.0.1:4321 ")
    submit, wait, run = (shlex.split(line) for line in lines if line.startswith(("  curl", "  longrun")))
    assert submit[-3:] == ["-d", '{"input": {"text": "hello world"}}', "http://127.0.0.1:4321/api/v1/models/shout/jobs"]
    assert wait[-1].startswith("http://127.0.0.1:4321/api/v1/jobs/")
    assert run == ["longrun", "run", "shout", "text=hello world", "--url", "http://127.0.0.1:4321"]


def test_the_greeting_of_a_model_that_takes_files_sends_a_form() -> None:
    picture = {"type": "string", "x-longrun-file": {"kind": "image"}}
    schema = {"properties": {"image": picture, "text": {"type": "string"}}, "required": ["image", "text"]}

    lines = greeting("http://127.0.0.1:8000", "s", [{"name": "mark", "input_schema": schema}], keyed=False)

    submit, _, run = (shlex.split(line) for line in lines if line.startswith(("  curl", "  longrun")))
    assert submit[2:6] == ["-F", "image=@picture.jpg", "-F", 'text="hello world";type=application/json']
    assert run == ["longrun", "run", "mark", "image=@picture.jpg", "text=hello world"]


def test_the_greeting_leaves_out_what_is_the_default() -> None:
    assert "--url" not in greeting("http://127.0.0.1:8000", "s", [SHOUT], keyed=False)[-2]


def test_with_keys_the_lines_name_the_variable_never_the_key() -> None:
    text = "\n".join(greeting("http://127.0.0.1:8000", "s", [SHOUT], keyed=True))

    assert text.count('-H "Authorization: Bearer $LONGRUN_KEY"') == 2


def test_without_models_there_is_nothing_to_copy() -> None:
    assert len(greeting("http://127.0.0.1:8000", "s", [], keyed=False)) == 3


def test_a_port_in_use_is_refused_with_a_way_out() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(SettingsError, match="in use: stop what listens there"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_port_zero_takes_a_free_one() -> None:
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        assert port > 0
        assert url_of(sock) == f"http://127.0.0.1:{port}"
        socket.create_connection(("127.0.0.1", port), timeout=1).close()


@pytest.mark.parametrize(("host", "told"), [("no.such.host.invalid", "not an address"), ("192.0.2.1", "cannot listen")])
def test_an_address_that_is_not_ours_is_refused(host: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        listen(host, 0)


def test_localhost_is_the_address_that_clients_try_first() -> None:
    with listen("localhost", 0) as sock:
        assert sock.family == socket.AF_INET
