"""A real model behind each service, beside the same model called without one."""

from __future__ import annotations

from statistics import median

from bench.errors import CheckError
from bench.figures import Figure
from bench.inference import MEASURES, Seen, offline, sentences
from bench.plan import Plan, alternate, say

LABELS = {
    "litserve": "LitServe, batching",
    "bentoml": "BentoML, adaptive batching",
    "bentoml_task": "BentoML, task, polled every 50 ms",
    "ray": "Ray Serve, @serve.batch",
}
NOTE = (
    "all-MiniLM-L6-v2, the same sentences in the same order, one process with the model, as many PyTorch threads as there are cores, "
    "batches of up to 64 everywhere. Every vector is compared with that of the model without a service. Not equal durability: Longrun "
    "keeps each sentence as a job in its store; LitServe, BentoML's route and Ray Serve keep nothing, BentoML's task keeps a row in "
    "SQLite."
)


def measure(plan: Plan) -> list[Figure]:
    """Sentences a second."""
    texts = sentences(plan.sentences)
    first, expected = offline(texts)
    best = max(first, key=lambda size: first[size])
    shown = ", ".join(f"{size}: {rate:.0f}/s" for size, rate in first.items())
    say(f"  offline, by batch size: {shown}")
    seen: dict[str, list[Seen]] = {name: [] for name in MEASURES}
    troubles: dict[str, str] = {}
    widths: dict[str, int] = {}

    def ask(name: str, connections: int) -> Seen:
        found = MEASURES[name](texts, expected, connections)
        say(f"    {name}, {connections} connections: {found.rate:.4g}/s, {found.batch:.3g} a batch")
        return found

    def round_of(name: str) -> float:
        if name not in widths:  # the first round finds out which number of connections is best for it
            tries = {width: ask(name, width) for width in (plan.connections if name != "batches" else plan.connections[:1])}
            widths[name] = max(tries, key=lambda width: tries[width].rate)
            seen[name].append(tries[widths[name]])
        else:
            seen[name].append(ask(name, widths[name]))
        return seen[name][-1].rate

    sides = {"offline": lambda: max(offline(texts)[0].values())} | {name: lambda name=name: round_of(name) for name in MEASURES}  # type: ignore[misc]
    values = alternate(plan.rounds_inference, sides, troubles, ours="offline")
    if not values["longrun"]:
        raise CheckError(f"Longrun: {troubles['longrun']}")
    notes = f"{NOTE} Offline, first try, by batch size: {shown}; the best size of each round counts (first: {best})."
    ours, without = values["longrun"], "the model offline, best batches"
    detail = _detail("longrun", seen, widths)
    figures = [
        Figure("minilm", f"sentences, one request each ({detail})", "1/s", without, ours, values["offline"], target="minilm", note=notes),
        Figure(
            "minilm",
            "sentences through /batches" + (f" ({_detail('batches', seen, {})})" if seen["batches"] else ""),
            "1/s",
            without,
            values["batches"],
            values["offline"] if values["batches"] else [],
            target="batches",
            missing=troubles.get("batches", ""),
            note=notes,
        ),
    ]
    for name, label in LABELS.items():
        peer = f"{label} ({_detail(name, seen, widths)})" if values[name] else label
        figures.append(
            Figure("minilm", "sentences, one request each", "1/s", peer, ours, values[name], missing=troubles.get(name, ""), note=notes)
        )
        if values[name]:
            share = median(theirs / best_of for theirs, best_of in zip(values[name], values["offline"], strict=True))
            say(f"  {label}: {share:.3g} of offline")
    return figures


def _detail(name: str, seen: dict[str, list[Seen]], widths: dict[str, int]) -> str:
    width = f"{widths[name]} connections, " if name in widths else ""
    return f"{width}{median(each.batch for each in seen[name]):.3g} a batch"
