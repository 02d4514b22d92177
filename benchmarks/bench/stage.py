"""Starts what one measurement needs, and stops all of it at its end, also after an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from bench.children import Child, until
from bench.errors import CheckError
from bench.ports import free_port
from longrun.embedded import EmbeddedValkey
from longrun.embedded.address import choose_socket, url_of

HERE = Path(__file__).resolve().parent.parent
Pool = Literal["prefork", "threads", "solo"]
START_WITHIN = 40.0  # seconds
CLIENT_LIMIT = 180.0  # seconds a measuring client may take
MODEL = str(HERE / "noop.py")


class Stage:
    """The programs of one measurement, in a temporary folder; a context manager."""

    PICTURES = str(HERE / "pictures.py")

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.valkey_pid = 0
        self.started: list[Child] = []  #: its programs, the latest last

    @property
    def folder(self) -> Path:
        """Where its programs may write."""
        return self._folder

    def __enter__(self) -> Self:
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="longrun-bench-")))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def valkey(self) -> str:
        """URL of a fresh Valkey with the settings of `longrun serve`: append-only file, synced every second."""
        server = EmbeddedValkey(self._folder / "valkey")
        self._stack.callback(server.stop)
        url = server.start()
        self.valkey_pid = server.pid or 0
        return url

    def longrun_api(self, redis_url: str) -> int:
        """Port of one Longrun API process."""
        return self.longrun_api_process(redis_url)[0]

    def longrun_api_process(self, redis_url: str, app: str = MODEL) -> tuple[int, Child]:
        """Port of one Longrun API process, and the process."""
        port = free_port()
        child = self._longrun("api", ["--port", str(port)], redis_url, app)
        self.answers(child, port, "/readyz")
        return port, child

    def longrun_worker(self, redis_url: str, app: str = MODEL, env: dict[str, str] | None = None) -> Child:
        """One Longrun worker with one runner for each model of `app`."""
        return self._longrun("worker", [], redis_url, app, env)

    def longrun_serve(self, app: str = MODEL) -> tuple[int, Child]:
        """Port and process of `longrun serve`: Valkey, API and worker."""
        port = free_port()
        child = self._longrun("serve", ["--port", str(port), "--data", str(self._folder / "data")], "", app)
        self.answers(child, port, "/readyz")
        return port, child

    def served_url(self) -> str:
        """URL of the Valkey of `longrun serve`."""
        return url_of(choose_socket((self._folder / "data").resolve()))

    def handwritten_api(self, redis_url: str) -> int:
        """Port of one uvicorn process with the hand-written API."""
        return self._uvicorn("handwritten.app:app", _celery_env(redis_url))[0]

    def handwritten_uploads(self) -> tuple[int, Child]:
        """Port of one uvicorn process with the hand-written upload route, and the process."""
        folder = self._folder / "uploads"
        folder.mkdir()
        return self._uvicorn("handwritten.uploads:app", {"UPLOADS": str(folder), "TMPDIR": str(self._folder)})

    def handwritten_worker(self, redis_url: str, pool: Pool) -> Child:
        """One stock Celery worker, two processes or threads wide where the pool has a width."""
        options = ["-P", pool, "-l", "warning"] + ([] if pool == "solo" else ["-c", "2"])
        command = [sys.executable, "-m", "celery", "-A", "handwritten.tasks:celery", "worker", *options]
        return self.start(f"celery-{pool}", command, _celery_env(redis_url))

    def handwritten_fill(self, redis_url: str, count: int, text: str) -> list[str]:
        """Queue `count` tasks by `delay()`; their ids."""
        ids: list[str] = self.result("fill", ["handwritten.fill", str(count), text], _celery_env(redis_url))
        return ids

    def ceiling(self) -> int:
        """Port of one uvicorn process whose submit returns a constant."""
        return self._uvicorn("ceiling:app", {})[0]

    def client(self, task: str, service: str, port: int, **options: Any) -> dict[str, Any]:
        """Run the measuring client to its end.

        Raises:
            CheckError: it saw something wrong.
        """
        spec = json.dumps({"task": task, "service": service, "port": port, **options})
        result: dict[str, Any] = self.result(f"{task} against {service}", ["bench.client", spec], {})
        return result

    def uploads(self, port: int, path: str, *, count: int, size: int) -> dict[str, Any]:
        """Send so many files at once.

        Raises:
            CheckError: the uploading program failed.
        """
        spec = json.dumps({"port": port, "path": path, "count": count, "size": size})
        result: dict[str, Any] = self.result(f"uploads to {path}", ["bench.uploader", spec], {})
        return result

    def readers(self, port: int, paths: list[str], *, warm_up: float, seconds: float) -> dict[str, Any]:
        """Run readers of event streams, one for each path, for `warm_up + seconds`.

        Raises:
            CheckError: a stream was refused, broke, or had a hole.
        """
        spec = json.dumps({"port": port, "warm_up": warm_up, "seconds": seconds})
        result: dict[str, Any] = self.result("readers", ["bench.readers", spec], {}, "\n".join(paths))
        return result

    @staticmethod
    def result(name: str, module: list[str], env: dict[str, str], told: str = "", python: str = sys.executable) -> Any:
        """Run a module of this folder to its end, with `told` on its input, and read the JSON that it prints. Killed when it is slow."""
        command = [python, "-m", *module]
        try:
            done = subprocess.run(
                command, cwd=HERE, env=_clean_env() | env, input=told, capture_output=True, text=True, timeout=CLIENT_LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            raise CheckError(f"{name} did not end within {CLIENT_LIMIT:g} s") from None
        if done.returncode:
            raise CheckError(f"{name}: {done.stderr.strip()[-2000:]}")
        return json.loads(done.stdout)

    def _longrun(self, verb: str, options: list[str], redis_url: str, app: str = MODEL, more: dict[str, str] | None = None) -> Child:
        env = {"LONGRUN_LOG_LEVEL": "warning", "LONGRUN_DATA": str(self._folder / "data")}
        env |= {"LONGRUN_REDIS_URL": redis_url} if redis_url else {}
        return self.start(f"longrun-{verb}", [sys.executable, "-m", "longrun", verb, app, *options], env | (more or {}))

    def _uvicorn(self, app: str, env: dict[str, str]) -> tuple[int, Child]:
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--no-access-log", "--log-level", "warning"]
        child = self.start(app.partition(":")[0], command, env)
        self.answers(child, port, "/openapi.json")
        return port, child

    def start(self, name: str, command: list[str], env: dict[str, str]) -> Child:
        """A program that is stopped at the end, with `env` added to a clean environment and this folder as its current one."""
        child = Child(name, command, folder=self._folder, cwd=HERE, env=_clean_env() | env)
        self._stack.callback(child.stop)
        self.started.append(child)
        return child

    @staticmethod
    def answers(child: Child, port: int, path: str, timeout: float = START_WITHIN) -> None:
        """Wait until a GET of `path` is answered with 200. Raises CheckError."""
        until(lambda: _is_up(f"http://127.0.0.1:{port}{path}"), child, timeout=timeout)


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _clean_env() -> dict[str, str]:
    """The environment without settings that would change what is measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("LONGRUN_", "CELERY_", "WEB_CONCURRENCY", "OMP_"))}


def _celery_env(redis_url: str) -> dict[str, str]:
    url = redis_url.replace("unix://", "redis+socket://")
    return {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
