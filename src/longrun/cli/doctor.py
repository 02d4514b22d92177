"""`longrun doctor`: looks at the machine, the models, the files and the store, and says what is wrong and which line mends it."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from longrun.cli.options import App, Data
from longrun.cli.show import print_json, print_table, shown_url, write

if TYPE_CHECKING:
    from longrun.service.machine_checks import Machine, Served
    from longrun.service.store_checks import Finding
    from longrun.settings import Settings

REFUSED = 1
_PATIENCE_S = 10.0
_WORDS = {"ok": "ok", "warn": "warning", "refuse": "REFUSED"}


def doctor(
    app: App = None,
    *,
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the machine, the models, the blob store and the store. Changes nothing.

    Exit status 0: `api`, `worker` and `serve` start here (there may be warnings). 1: something would keep them from it, or no store runs.
    """
    from longrun.settings import load_settings

    settings = load_settings(app=app, data=data)
    findings = examine_all(settings)
    refused = any(each.severity == "refuse" for each in findings)
    if as_json:
        from longrun.version import VERSION

        print_json({"version": VERSION, "ok": not refused, "findings": [asdict(each) for each in findings]})
    else:
        print_findings(findings)
    raise typer.Exit(REFUSED if refused else 0)


def examine_all(settings: Settings) -> list[Finding]:
    """Every check: this machine, the models when some are named, the blob store, the store."""
    from longrun.service.machine_checks import examine_app, examine_machine
    from longrun.service.store_checks import Finding
    from longrun.worker.supervise.cores import find_cores
    from longrun.worker.supervise.devices import refusal
    from longrun.worker.supervise.layout import examine_threads, lay_out

    machine = read_machine()
    findings = examine_machine(machine, settings)
    served = read_app(settings) if settings.app else None
    if served is not None:
        findings += examine_app(served, machine, settings)
    specs = [spec for spec in served.specs if not settings.queues or spec.queue in settings.queues] if served is not None else []
    refused = refusal(settings.device, {spec.name: spec.options.gpus for spec in specs}, machine.gpus)
    if refused:
        findings.append(Finding("refuse", "device", refused, "as said: a worker would not start here"))
    elif specs:
        cores = find_cores()
        findings.append(examine_threads(lay_out(specs, settings, machine.gpus, cores, os.environ), settings, cores))
    return [*findings, examine_files(settings), *examine_store(settings)]


def read_machine() -> Machine:
    """What is here."""
    from longrun.embedded.program import find_server, identify
    from longrun.errors import SettingsError
    from longrun.service.machine_checks import Machine
    from longrun.worker.supervise.devices import visible_gpus

    server, why = None, ""
    try:
        program = find_server()
        server = f"{identify(program)} ({program})"
    except SettingsError as error:
        why = str(error)
    return Machine(sys.version_info[:3], server, why, visible_gpus(), _open_files(), _stranger(), _is_whole())


def _open_files() -> int | None:
    try:
        import resource
    except ImportError:  # not a Unix
        return None
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _stranger() -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("longrun")
    except PackageNotFoundError:
        return None


def _is_whole() -> bool:
    import longrun

    return longrun.__file__ is not None  # a package without its `__init__.py` still imports, as a namespace


def read_app(settings: Settings) -> Served:
    """The models, imported as `serve` would import them; an error of theirs is shown with its traceback."""
    from longrun.errors import LongrunError
    from longrun.service.machine_checks import Served
    from longrun.wiring import find_models

    try:
        return Served(settings.app, find_models(settings)[1])
    except LongrunError as error:
        return Served(settings.app, error=str(error))
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return Served(settings.app, error=f"cannot be imported: {type(error).__name__}: {error}")


def examine_files(settings: Settings) -> Finding:
    """Whether files can be kept. A folder that is not there yet is not made for that."""
    from longrun.blobs.open import folder_of, open_blobs
    from longrun.errors import MissingExtra, SettingsError, install_line
    from longrun.service.machine_checks import examine_storage
    from longrun.service.storage_health import StorageHealth
    from longrun.service.store_checks import Finding

    folder = folder_of(settings)
    place = settings.blobs if folder is None else str(folder)
    if folder is not None and not folder.exists():
        return examine_storage(place, None)
    try:
        blobs = open_blobs(settings)
    except MissingExtra as error:
        return Finding("refuse", "files", str(error), f"`{install_line(error.extra)}`")
    except SettingsError as error:
        return Finding("refuse", "files", str(error), "correct LONGRUN_BLOBS, or AWS_ENDPOINT_URL")
    try:
        return examine_storage(place, asyncio.run(StorageHealth(blobs, patience=_PATIENCE_S).checks())["files"])
    finally:
        blobs.close()


def examine_store(settings: Settings) -> list[Finding]:
    """Every check of the store, or the one finding that there is none."""
    from longrun.errors import LongrunError, SettingsError
    from longrun.service.losses import examine_loss
    from longrun.service.store_checks import Finding, examine_work, show_processes
    from longrun.wiring import find_store_url, inspect_store

    serve = f"`longrun serve {settings.app or 'app.py'}`"
    try:
        url = find_store_url(settings)
    except SettingsError:
        found = f"no embedded Valkey runs in {settings.data}, and LONGRUN_REDIS_URL is not set"
        return [Finding("refuse", "store", found, f"start one: {serve}; or set LONGRUN_REDIS_URL=redis://host:6379/0")]
    shown = shown_url(url)
    try:
        seen, lanes, loss = asyncio.run(inspect_store(settings, url, claim=False))
    except LongrunError as error:
        mend = "start it, and look at LONGRUN_REDIS_URL: address, password, TLS (rediss://)" if settings.redis_url else f"start it: {serve}"
        return [Finding("refuse", "store", f"{shown}: {error}", mend)]
    work = []
    if seen.facts.inside:
        work = [show_processes(seen.facts), examine_loss(loss), *examine_work(seen.facts.workers, lanes, settings.app)]
    return [Finding("ok", "store", f"{shown}, {seen.facts.server}"), *seen.findings, *work]


def print_findings(findings: Sequence[Finding]) -> None:
    """A table; below it, for a person, the lines that mend. In a pipe they are the fourth column."""
    rows = [(each.name, _WORDS[each.severity], each.found) for each in findings]
    if not sys.stdout.isatty():
        print_table((), [(*row, each.mend) for row, each in zip(rows, findings, strict=True)])
        return
    print_table(("CHECK", "", "FOUND"), rows)
    for each in findings:
        if each.mend:
            write(f"\n{each.name}: {each.mend}\n")
