"""Which runners a worker has, and whether they ask for more cores than there are: decisions alone, also for `longrun doctor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from longrun.models import ModelSpec
from longrun.service.store_checks import Finding
from longrun.settings import Settings
from longrun.worker.supervise.cores import Cores, choose_threads
from longrun.worker.supervise.devices import Place, place_runners


@dataclass(frozen=True, slots=True)
class Runners:
    """Models that share runners, and the place of each of these."""

    specs: Sequence[ModelSpec]
    places: Sequence[Place]


def lay_out(specs: Sequence[ModelSpec], settings: Settings, visible: Sequence[str], cores: Cores, env: Mapping[str, str]) -> list[Runners]:
    """All runners of a worker. What `devices.refusal` refuses must not come here.

    Args:
        visible: GPUs.
        env: of the worker: what it says of threads goes before a share of the cores.
    """
    together: dict[str, list[ModelSpec]] = {}
    for spec in specs:
        # The functions of a module have nothing to load of their own: they share runners. There is one main thread in each.
        shares = spec.is_function and not spec.options.main_thread
        together.setdefault(f"functions of {spec.module}" if shares else spec.name, []).append(spec)
    return [Runners(group, _places(group, settings, visible, cores, env)) for group in together.values()]


def concurrency_of(spec: ModelSpec, settings: Settings) -> int:
    """How many jobs (batches) of a model a runner works on at once. There is one main thread, whatever the operator says."""
    return spec.concurrency if spec.options.main_thread else settings.concurrency or spec.concurrency


def _places(specs: Sequence[ModelSpec], settings: Settings, visible: Sequence[str], cores: Cores, env: Mapping[str, str]) -> list[Place]:
    """Where models share runners, the largest value of each option counts."""
    processes = settings.processes or max(spec.options.processes for spec in specs)
    places = place_runners(settings.device, max(spec.options.gpus for spec in specs), processes, visible)
    asked = settings.threads or max((spec.options.threads for spec in specs if spec.options.threads), default=None)
    threads = choose_threads(asked, len(places), cores, env)
    return [replace(place, env=place.env | threads.env, threads=threads.count) for place in places]


def examine_threads(layout: Sequence[Runners], settings: Settings, cores: Cores) -> Finding:
    """Whether one model alone asks for more threads than there are cores. That several do so together is only said: they may be idle."""
    name, here = "threads", f"cores: {cores.usable}{f' of {cores.seen} (CPU quota)' if cores.usable < cores.seen else ''}"
    demands = [max((_Demand.of(spec, each.places, settings) for spec in each.specs), key=lambda demand: demand.all) for each in layout]
    over = [demand for demand in demands if demand.all > cores.usable]
    if over:
        found = "; ".join(demand.words for demand in over)
        return Finding("warn", name, f"{here}; {found}", "; ".join(demand.mend(cores.usable, settings) for demand in over))
    total = sum(demand.all for demand in demands)
    if total > cores.usable:
        most = max(1, cores.usable // sum(demand.runners for demand in demands))
        found = f"no model alone asks for more, but all at work at once ask for {total}; if they often are, set LONGRUN_THREADS={most}"
        return Finding("ok", name, f"{here}; {found}")
    return Finding("ok", name, f"{here}, threads: {total}")


@dataclass(frozen=True, slots=True)
class _Demand:
    """What a model asks for when it has much to do."""

    model: str
    runners: int
    jobs: int  #: of a runner that may compute at once; those of async code take turns
    threads: int

    @classmethod
    def of(cls, spec: ModelSpec, places: Sequence[Place], settings: Settings) -> _Demand:
        threads = places[0].threads or 1
        # Who sets one thread and several jobs at once has code that waits, or has thought of it.
        jobs = 1 if spec.is_async or threads == 1 else concurrency_of(spec, settings)
        return cls(spec.name, len(places), jobs, threads)

    @property
    def all(self) -> int:
        return self.runners * self.jobs * self.threads

    @property
    def words(self) -> str:
        factors = [
            f"{n} {what}" for n, what in ((self.runners, "runners"), (self.jobs, "jobs at once"), (self.threads, "threads")) if n > 1
        ]
        return f"{self.model} asks for {self.all} threads ({' x '.join(factors)})"

    def mend(self, cores: int, settings: Settings) -> str:
        if self.runners > cores:
            return f"fewer than {self.runners} runners (`processes` on {self.model}, or LONGRUN_PROCESSES), or more cores"
        most = max(1, cores // (self.runners * self.jobs))
        everywhere = f"LONGRUN_THREADS={most}"
        return everywhere if settings.threads else f"`threads={most}` on {self.model}, or {everywhere} for all models"
