"""The peers' environments: one for each peer, so that each gets the versions it wants, in `benchmarks/.venv/<peer>`."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from bench.errors import CheckError, PeerMissing
from bench.plan import say

HERE = Path(__file__).resolve().parent.parent
ENVIRONMENTS = HERE / ".venv"
LOCKS = HERE / "peers"
INSTALL_WITHIN = 600.0  # seconds
#: These see PyTorch and the model of Longrun's environment behind their own packages: the same bytes for all, and no gigabytes twice.
SEE_TORCH = frozenset({"litserve", "bentoml", "ray"})


def install(peers: Iterable[str]) -> None:
    """Install what is not there yet; `program` tells later what did not work."""
    for peer in peers:
        try:
            _folder(peer)
        except PeerMissing as error:
            say(f"  {error}")


def program(peer: str, name: str) -> str:
    """Path of a program in the environment of a peer.

    Raises:
        PeerMissing: the peer could not be installed, or has no such program.
    """
    path = _folder(peer) / "bin" / name
    if not path.exists():
        raise PeerMissing(f"{peer} is installed, but has no program `{name}`")
    return str(path)


def versions(peer: str) -> str:
    """`name==version` of what the peer's `.in` names, as the lock has it."""
    wanted = re.findall(r"^[a-z0-9-]+", (LOCKS / f"{peer}.in").read_text(), re.MULTILINE)
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", (LOCKS / f"{peer}.lock").read_text(), re.MULTILINE))
    return ", ".join(f"{name} {locked[name]}" for name in wanted if name in locked)


@cache
def _outcome(peer: str) -> str:
    """Install; the reason why that did not work, or nothing."""
    lock, folder = LOCKS / f"{peer}.lock", ENVIRONMENTS / peer
    stamp, state = folder / ".installed", hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == state:
        return ""
    say(f"  installing {peer} into {folder.relative_to(HERE.parent)}")
    uv = str(Path(sys.executable).parent / "uv")
    try:
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        options = ("--quiet", "--no-deps", "--require-hashes", "--compile-bytecode", "--python", str(folder / "bin" / "python"))
        _run(uv, "pip", "install", *options, "-r", str(lock))
    except CheckError as error:
        return str(error)
    if peer in SEE_TORCH:
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n")
    stamp.write_text(state)
    return ""


def _folder(peer: str) -> Path:
    if reason := _outcome(peer):
        raise PeerMissing(f"{peer} was not installed: {reason}")
    return ENVIRONMENTS / peer


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_WITHIN, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CheckError(str(error)) from None
    if done.returncode:
        raise CheckError(" ".join(done.stderr.split())[:300])
