"""The embedded Valkey and the processes around it: who started it, who finds it, and who must not touch it."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from tests.integration.embedded_servers import gone_within, say, say_setting, serving_process
from tests.require import require_namespaces

from longrun.embedded import EmbeddedValkey
from longrun.embedded.address import ask, ping, socket_of


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a server to its parent")
@pytest.mark.parametrize("spawn", ["server.start()", "import threading; t = threading.Thread(target=server.start); t.start(); t.join()"])
def test_the_server_dies_with_its_parent_but_not_with_the_thread_that_started_it(data: Path, spawn: str) -> None:
    with serving_process(data, spawn) as (parent, pid):
        time.sleep(0.3)
        assert psutil.pid_exists(pid)
        parent.kill()
        assert gone_within(pid, 3)


def test_an_interrupt_at_the_terminal_does_not_reach_the_server(data: Path) -> None:
    with EmbeddedValkey(data) as server:
        assert server.pid is not None
        assert os.getsid(server.pid) == server.pid != os.getsid(0)


def test_an_orphan_that_still_answers_is_adopted_with_its_data(data: Path) -> None:
    # Where the system cannot tie the server to its parent (macOS), it outlives a killed parent.
    with serving_process(data, "sys.platform = 'darwin'; server.start()") as (parent, pid):
        parent.kill()
        parent.wait()
        ask(socket_of(data.resolve()), "SET", "kept", "yes")
        with EmbeddedValkey(data, durability="strict") as server:
            assert server.pid == pid == int((data / "valkey.pid").read_text())
            assert say(server, "GET", "kept") == "yes"
            assert say_setting(server, "appendfsync") == "always"
        assert gone_within(pid, 1)


def test_an_orphan_in_another_container_is_neither_adopted_nor_signalled(data: Path) -> None:
    """Its process id there is the number of somebody else here."""
    begin = f"""
        import os, sys
        from pathlib import Path
        from longrun.embedded import EmbeddedValkey, valkey
        server = EmbeddedValkey(Path({str(data)!r}))
    """
    leave = "sys.platform = 'darwin'; server.start(); os._exit(0)"
    adopt = "valkey._START_TIMEOUT = 1; os.kill = lambda *said: print('signalled', said); server.start(); server.stop()"
    one, two = (textwrap.dedent(begin) + each for each in (leave, adopt))
    namespace = require_namespaces()
    # The first process of the container lives on, so that the server does.
    container = subprocess.Popen([*namespace, "sh", "-c", '"$0" -c "$1"; echo up; cat', sys.executable, one], stdin=-1, stdout=-1)
    try:
        assert container.stdout is not None and container.stdout.readline() == b"up\n"
        ask(socket_of(data.resolve()), "SET", "kept", "yes")
        tried = subprocess.run([*namespace, sys.executable, "-c", two], capture_output=True, text=True)
        assert "neither obeys nor ends" in tried.stderr, tried
        assert (tried.stdout, ping(socket_of(data.resolve()))) == ("", "ready")
    finally:
        container.kill()
        container.communicate()
    with EmbeddedValkey(data) as server:
        assert say(server, "GET", "kept") == "yes"


def test_a_server_that_is_going_down_is_not_adopted_but_waited_for(data: Path) -> None:
    with serving_process(data) as (parent, dying):
        ask(socket_of(data.resolve()), "SET", "kept", "yes")
        parent.kill()
        parent.wait()
        with EmbeddedValkey(data) as server:
            assert server.pid != dying
            assert say(server, "GET", "kept") == "yes"
            assert gone_within(dying, 1)
