"""Models that show what their runner was given: whatever a model, or what it starts, might print by accident."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import longrun
from longrun import Model, model

AT_IMPORT = dict(os.environ)


def here() -> dict[str, Any]:
    """Of this process."""
    return {
        "environ": dict(os.environ),
        "at exec": Path("/proc/self/environ").read_text(errors="replace"),
        "command": Path("/proc/self/cmdline").read_text(errors="replace") + repr(sys.orig_argv),
        "descriptors": sorted(str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()),
    }


def everywhere() -> dict[str, Any]:
    """Of this process, and of each kind of process that it can start."""
    found: dict[str, Any] = {"import": AT_IMPORT, "runner": here(), "shell": subprocess.check_output("env", shell=True, text=True)}
    found["python"] = subprocess.check_output([sys.executable, "-c", "import os; print(dict(os.environ))"], text=True)
    for method in ("fork", "spawn", "forkserver"):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
            found[method] = pool.submit(here).result(60)
    return found


def settings() -> str:
    """All that the settings say, and how they look when they are printed."""
    from longrun.settings import Settings, load_settings

    return repr(load_settings()) + repr(Settings()) + str([repr(value) for value in load_settings().api_keys.values()])


class Looker(Model):
    """At each moment of a model's life."""

    def load(self, device: str) -> None:
        self.found = {"load": here()}

    def warmup(self) -> None:
        self.found["warmup"] = here()

    def predict(self) -> str:
        """As text, which no check of values changes."""
        return json.dumps(self.found | {"job": everywhere(), "settings": settings()})


@model
async def look() -> str:
    """On the event loop."""
    return json.dumps(here() | {"settings": settings()})


@model(main_thread=True)
def look_main() -> str:
    """On the main thread."""
    return json.dumps(here() | {"settings": settings()})


@model
def leaf() -> str:
    """What others call."""
    return "done"


async def ask() -> str:
    """Run `leaf` as a job of its own, or say why not."""
    try:
        return str(await (await longrun.submit("leaf", tenant="t")).result(60))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        await longrun.close()


def ask_blocking() -> str:
    """The same, in a process without a loop."""
    return asyncio.run(ask())


@model
async def calls() -> str:
    """A job of a job."""
    return await ask()


@model
def children_call() -> dict[str, str]:
    """The same from processes that the model starts."""
    found = {}
    for method in ("fork", "spawn"):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
            found[method] = pool.submit(ask_blocking).result(60)
    program = "import app, sys; sys.stdout.write(app.ask_blocking())"
    path = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    found["python"] = subprocess.check_output([sys.executable, "-c", program.replace("app", Path(__file__).stem)], text=True, env=path)
    return found
