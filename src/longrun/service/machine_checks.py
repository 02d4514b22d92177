"""What is wrong with this machine for running Longrun: decisions alone, for `longrun doctor`; its command reads the facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longrun.errors import install_line
from longrun.errors.extras import DISTRIBUTION
from longrun.models import ModelSpec
from longrun.service.store_checks import Finding
from longrun.settings import Settings
from longrun.version import SOURCE, VERSION

OPEN_FILES = 4096  # each caller, stream and runner takes one


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found here.

    Args:
        python: version of the interpreter.
        server: path and version of the server program that an embedded Valkey would use; None = there is none.
        no_server: why there is none.
        gpus: visible NVIDIA GPUs.
        open_files: how many files this process may have open; None = no limit, or not known.
        whole: whether the package has all its files; uninstalling another project's `longrun` may have taken some along.
        stranger: version of the distribution `longrun`, another project's whose files lie where ours do; None = it is not installed.
    """

    python: tuple[int, int, int]
    server: str | None
    no_server: str
    gpus: Sequence[str]
    open_files: int | None
    stranger: str | None = None
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Served:
    """The models of an application, or why it cannot be imported."""

    target: str
    specs: Sequence[ModelSpec] = ()
    error: str = ""


def examine_machine(machine: Machine, settings: Settings) -> list[Finding]:
    """Every check of the machine."""
    python = Finding("ok", "python", ".".join(map(str, machine.python)))  # an older one than is needed does not come this far
    gpu = Finding("ok", "gpu", f"visible: {', '.join(machine.gpus)}" if machine.gpus else "none is visible")
    return [python, _installation(machine), _server(machine, settings), gpu, _open_files(machine)]


def examine_storage(place: str, found: str | None) -> Finding:
    """Whether files can be kept. `found`: what `StorageHealth` says; None = their folder is made with the first file."""
    if found is None:
        return Finding("ok", "files", f"{place}, which is made with the first file")
    if found == "ok":
        return Finding("ok", "files", place)
    mend = "look at LONGRUN_BLOBS, at room and permissions there, and for a bucket at AWS_ENDPOINT_URL and the credentials"
    return Finding("warn", "files", f"{place}: {found}", mend)


def _installation(machine: Machine) -> Finding:
    name = "installation"
    if machine.stranger is not None:
        found = f"longrun {machine.stranger}, a distribution of another project, is installed too: each has overwritten files of the other"
        mend = f"`pip uninstall longrun`, then `pip install --force-reinstall --no-deps {DISTRIBUTION}=={VERSION}`"
        return Finding("refuse", name, found, mend)
    if not machine.whole:
        mend = f"`pip install --force-reinstall --no-deps {DISTRIBUTION}=={VERSION}`"
        return Finding("refuse", name, "files of the package are missing: another distribution was removed that had the same", mend)
    if VERSION == SOURCE:
        found = "a source tree that is not installed: processes of other versions are not noticed"
        return Finding("warn", name, found, "`pip install --editable .` there")
    return Finding("ok", name, f"{DISTRIBUTION} {VERSION}")


def _server(machine: Machine, settings: Settings) -> Finding:
    if machine.server is not None:
        return Finding("ok", "valkey", f"{machine.server}{', not used: LONGRUN_REDIS_URL is set' if settings.redis_url else ''}")
    if settings.redis_url:
        return Finding("ok", "valkey", "none here, and none needed: LONGRUN_REDIS_URL is set")
    return Finding("refuse", "valkey", machine.no_server, f"`{install_line('embedded')}`, or set LONGRUN_REDIS_URL")


def _open_files(machine: Machine) -> Finding:
    if machine.open_files is not None and machine.open_files < OPEN_FILES:
        mend = "`ulimit -n 65536` before the start, or `LimitNOFILE=65536` in the systemd unit"
        return Finding("warn", "open-files", f"{machine.open_files} at most: more callers than that at once are refused", mend)
    return Finding("ok", "open-files", "no limit" if machine.open_files is None else f"{machine.open_files} at most")


def examine_app(served: Served, machine: Machine, settings: Settings) -> list[Finding]:
    """Whether the application can be imported, and the machine suits its models."""
    if served.error:
        return [
            Finding("refuse", "app", f"{served.target}: {served.error}", "mend the file: `longrun serve` would end with the same error")
        ]
    names = [spec.name for spec in served.specs]
    findings = [Finding("ok", "app", f"{served.target}: {', '.join(names)}")]
    queues = {spec.queue for spec in served.specs}
    if settings.queues and not queues & set(settings.queues):
        found = f"no model of {served.target} is in LONGRUN_QUEUES={','.join(settings.queues)}"
        findings = [Finding("refuse", "app", found, f"name queues of these: {', '.join(sorted(queues))}")]
    wanting = [spec.name for spec in served.specs if spec.options.gpus]
    if wanting and not machine.gpus and settings.device == "auto":
        found = f"{', '.join(wanting)}: asks for GPUs, of which none is visible, and runs on the CPU"
        findings.append(Finding("warn", "app-gpus", found, "run these on a machine with GPUs, or set LONGRUN_DEVICE=cpu to have it so"))
    return findings
