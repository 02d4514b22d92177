"""The version before this one, built from the history: the two-version tests run it beside today's."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.require import require

ROOT = Path(__file__).parents[2]
#: The last release. The commit stands beside the tag, because a clone may lack tags, and because a tag may be moved.
TAG, COMMIT = "v0.1.0", "0f7d586bac8ebe6110b3d81c0664ede0524a6382"


def missing() -> str | None:
    """Why the last version cannot be built here; None when it can."""
    try:
        found = subprocess.run(["git", "cat-file", "-e", f"{COMMIT}^{{commit}}"], cwd=ROOT, capture_output=True).returncode == 0
    except FileNotFoundError:
        return "there is no git here"
    return None if found else f"this clone does not hold {TAG} ({COMMIT[:7]}): `git fetch --unshallow`, in a workflow `fetch-depth: 0`"


def install(folder: Path) -> Path:
    """Build its wheel and unpack it; what to put on PYTHONPATH. The test is skipped where the history does not reach back to it.

    Nothing is fetched: the build backend is installed with the tests, and its dependencies are those of today.
    """
    require("history", missing())
    archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=True).stdout
    source, site = folder / "source", folder / "site"
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(source, filter="data")
    build = "from hatchling.build import build_wheel; build_wheel('wheel')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as package:
        package.extractall(site)
    return site
