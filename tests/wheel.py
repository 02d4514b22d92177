"""`make wheel`: builds the wheel and tries it as strangers would, in fresh environments without the locks.

The bare wheel is the client. `[serve,embedded]` is installed at the oldest versions that pyproject.toml allows (on Python 3.11 alone, for
which all of them have wheels) and at the newest. Each serves `examples/hello.py`; its own command and the bare client run jobs there.
Needs nothing but the standard library and uv.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
READY_WITHIN = STOPPED_WITHIN = 90.0  # seconds; a machine that tests run on is busy
#: What a job gives through each client of the bare wheel.
CLIENTS = """
import asyncio, sys, longrun
assert longrun.Client(sys.argv[1]).run("shout", {"text": "sync"}) == "SYNC!"
async def main():
    async with longrun.AsyncClient(sys.argv[1]) as client:
        assert await client.run("shout", {"text": "async"}) == "ASYNC!"
asyncio.run(main())
"""


class Environment:
    """A virtual environment with the wheel in it.

    Args:
        folder: where it is made.
        uv: the program that makes it.
        wanted: what is installed, and options of `uv pip install`.
    """

    def __init__(self, folder: Path, uv: str, *wanted: str) -> None:
        self._bin = folder / "bin"
        run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
        run(uv, "pip", "install", "--quiet", "--python", str(self._bin / "python"), *wanted)
        shown = run(uv, "pip", "list", "--quiet", "--format", "freeze", "--python", str(self._bin / "python")).stdout
        print(f"{folder.name}: {' '.join(line for line in shown.split() if not line.startswith('longrun'))}", flush=True)

    def command(self, name: str, *arguments: str) -> list[str]:
        """A command that was installed there."""
        return [str(self._bin / name), *arguments]


def run(*command: str, fails: bool = False, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, here with no variable of Longrun's set; SystemExit when it fails, or was to fail and did not."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=surroundings(), timeout=600, check=False)
    if (done.returncode != 0) != fails:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}\nended with {done.returncode}")
    return done


def surroundings() -> dict[str, str]:
    """The variables of the environment without those that would lead to our source tree, or to another service."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("LONGRUN_")}


def check_bare(bare: Environment, folder: Path) -> None:
    """What needs more than the client answers with one line that says what to install."""
    for command in (["longrun"], ["longrun-ai", "serve", "app.py"], ["python", "-m", "longrun", "--version"]):
        said = run(*bare.command(*command), fails=True, folder=folder).stderr
        if said.count("\n") != 1 or "pip install 'longrun-ai[serve]'" not in said:
            raise SystemExit(f"{' '.join(command)} said:\n{said}")
    said = run(*bare.command("python", "-c", "from longrun import Model"), fails=True, folder=folder).stderr
    if "pip install 'longrun-ai[serve]'" not in said.splitlines()[-1] or "During handling" in said:
        raise SystemExit(f"from longrun import Model said:\n{said}")


@contextmanager
def service(env: Environment, folder: Path) -> Iterator[str]:
    """The URL of a service of this environment; it is stopped at the end, and has to end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", folder / "log"
    command = env.command("longrun", "serve", str(ROOT / "examples" / "hello.py"), "--port", str(port), "--data", str(folder / "data"))
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=surroundings(), stdout=out, stderr=out)
    try:
        wait_until_ready(f"{url}/readyz", process)
        yield url
        process.send_signal(signal.SIGTERM)
        if code := process.wait(STOPPED_WITHIN):
            raise SystemExit(f"the service ended with {code}")
    except BaseException:
        print(log.read_text(errors="replace"), file=sys.stderr)
        raise
    finally:
        if process.poll() is None:
            process.kill()


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until the service says that it is ready; SystemExit: it ended, or takes too long."""
    end = time.monotonic() + READY_WITHIN
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit("the service did not become ready")


def wanted_of(wheel: Path, resolution: str) -> list[str]:
    """The wheel with the extras that serve. uv takes the direct requirements of a project for its own, but not those of a wheel."""
    if resolution == "highest":
        return [f"longrun-ai[serve,embedded] @ file://{wheel}"]
    return [f"longrun-ai @ file://{wheel}", "-r", str(ROOT / "pyproject.toml"), "--extra", "serve", "--extra", "embedded"]


def main() -> None:
    """Build, install, and run jobs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", default="uv", help="the uv that builds and installs")
    parser.add_argument("resolutions", nargs="*", help="lowest-direct, highest; default: both, the first on Python 3.11 alone")
    options = parser.parse_args()
    oldest = sys.version_info[:2] == (3, 11)
    resolutions = options.resolutions or (["lowest-direct", "highest"] if oldest else ["highest"])
    with tempfile.TemporaryDirectory(prefix="longrun-") as made:
        folder = Path(made)
        run(options.uv, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", made, str(ROOT))
        (wheel,) = folder.glob("*.whl")
        bare = Environment(folder / "bare", options.uv, f"longrun-ai @ file://{wheel}")
        check_bare(bare, folder)
        for resolution in resolutions:
            env = Environment(folder / resolution, options.uv, "--resolution", resolution, *wanted_of(wheel, resolution))
            with service(env, folder) as url:
                said = run(*env.command("longrun-ai", "run", "--url", url, "shout", "text=hello"), folder=folder).stdout
                if "HELLO!" not in said:
                    raise SystemExit(f"the job gave {said!r}")
                run(*bare.command("python", "-c", CLIENTS, url), folder=folder)
            print(f"{resolution} on Python {sys.version.split()[0]}: the wheel serves, and runs jobs", flush=True)


if __name__ == "__main__":
    main()
