"""The documentation says what the code does: tables, codes, commands, links and Python blocks."""

from __future__ import annotations

import dataclasses
import re
import sys
import tomllib
import types
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main

from longrun import errors
from longrun.api.metrics import families
from longrun.api.routes import TABLE
from longrun.cli.commands import build
from longrun.errors import AuthoringError, JobError, Problem
from longrun.jobs.events import TYPES
from longrun.jobs.failure import RETRYABLE_CODES, TITLES
from longrun.jobs.states import Status
from longrun.models import ModelOptions, Registry, isolated_registry
from longrun.queues.celery.backend import STATES
from longrun.service.overview import Overview, UnknownQueue
from longrun.service.parts import Parts
from longrun.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
#: How the README links into the repository, for PyPI shows it too.
OURS = re.compile(re.escape(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Homepage"]) + "/(?:blob|tree)/main/")
#: Codes that the contract names and no answer holds yet.
RESERVED = {"rate-limited", "model-load-failed", "upstream-error", "step-failed"}
#: `Problem` itself, and what only Python callers meet, are told apart in the text below the tables.
FRAMEWORK = {"not-found": {404}, "method-not-allowed": {405}}


def page(name: str) -> str:
    return (DOCS / name).read_text()


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next heading of its rank or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,{title_rank(text, title)}}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {title!r}"
    return found[2]


def title_rank(text: str, title: str) -> int:
    found = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert found, f"there is no heading {title!r}"
    return len(found[1])


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows but heads and rulers."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    rulers = {number for number, line in enumerate(lines) if set(line) <= set("|-")}
    return [row for number, row in enumerate(cells) if number not in rulers and number + 1 not in rulers]


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(text))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shown(value: Any) -> str:
    """A default as the settings table writes it."""
    if value is None:
        return "none"
    if value in ("", (), {}):
        return "empty"
    if isinstance(value, tuple):
        return f"`{', '.join(map(str, value))}`"
    return f"`{str(value).lower() if isinstance(value, bool) else f'{value:g}' if isinstance(value, float) else value}`"


def subclasses(kind: type[Any]) -> set[type[Any]]:
    return {kind}.union(*(subclasses(each) for each in kind.__subclasses__()))


def own_codes(kind: type[Any]) -> set[type[Any]]:
    """The classes of this tree that Longrun itself defines; a test may have defined others."""
    return {each for each in subclasses(kind) if each.__module__.startswith(f"{errors.__name__}.")}


def test_the_settings_table_is_the_settings() -> None:
    expected = [
        [f"`LONGRUN_{name.upper()}`", shown(field.get_default(call_default_factory=True)), field.description]
        for name, field in Settings.model_fields.items()
    ]
    assert rows(section(page("operating.md"), "Settings")) == expected


def test_the_options_table_is_the_options_of_a_model() -> None:
    table = {quoted(row[0])[0]: quoted(row[1])[0] for row in rows(section(page("authoring.md"), "Options"))}
    assert table == {each.name: repr(each.default).replace("'", '"') for each in dataclasses.fields(ModelOptions)}


def test_options_that_nothing_reads_are_said_to_be_not_in_force() -> None:
    table = {quoted(row[0])[0]: row[2] for row in rows(section(page("authoring.md"), "Options"))}
    idle = {name for name, meaning in table.items() if "not in force yet" in meaning}
    sources = [path.read_text() for path in (ROOT / "src").rglob("*.py") if path.name != "options.py"]
    assert idle == {name for name in table if not any(re.search(rf"\boptions?\.{name}\b", text) for text in sources) and name != "retry"}


def test_every_code_of_a_request_is_in_the_table_with_its_status() -> None:
    table = rows(section(page("http.md"), "Codes of requests"))
    documented = {quoted(row[0])[0]: ({int(status) for status in row[1].split(", ")}, row[2] == "yes") for row in table}
    known: dict[str, tuple[set[int], bool]] = {code: (statuses, False) for code, statuses in FRAMEWORK.items()}
    for kind in own_codes(Problem) | {UnknownQueue}:
        statuses, retryable = known.get(kind.code, (set(), kind.retryable))
        known[kind.code] = (statuses | {kind.status}, retryable)
    assert documented == {code: each for code, each in known.items() if code not in RESERVED | {"job-unsuccessful"}}


def test_every_code_of_a_job_is_in_the_table() -> None:
    table = rows(section(page("http.md"), "Codes of jobs"))
    documented = {code: row[1] for row in table for code in quoted(row[0])}
    assert set(documented) == set(TITLES) | {kind.code for kind in own_codes(JobError)}
    assert {code for code, retryable in documented.items() if retryable == "yes"} == RETRYABLE_CODES - RESERVED


def test_no_code_is_left_out() -> None:
    codes = {kind.code for kind in own_codes(Problem) | own_codes(JobError)} | set(TITLES)
    assert codes - set(quoted(page("http.md"))) == set()


def test_every_route_is_in_the_page() -> None:
    routes = {f"{method} {path.removeprefix('/api/v1')}" for path, methods in TABLE.items() for method in methods}
    described = {route for route in quoted(section(page("http.md"), "Routes")) if re.match(r"(GET|POST|PATCH|DELETE) /", route)}
    assert described == routes


def test_every_event_type_and_state_is_in_the_page() -> None:
    events = {name for row in rows(section(page("http.md"), "Events")) for name in quoted(row[0])}
    assert events == TYPES
    assert {status.value for status in Status} <= set(quoted(section(page("http.md"), "The job")))


def test_every_member_of_a_request_is_in_the_page() -> None:
    from longrun.service.request import PolicyRequest, SubmitRequest

    named = set(quoted(section(page("http.md"), "Submitting")))
    assert set(SubmitRequest.model_fields) | set(PolicyRequest.model_fields) <= named


def test_the_metrics_table_is_the_metrics() -> None:
    nothing = Overview(lanes=[], workers=[], counters={}, claimed=0, trouble={}, times={})
    parts = Parts(Settings(), None, Registry())  # type: ignore[arg-type]  # the figures come from the overview
    table = [quoted(row[0])[0] for row in rows(section(page("operating.md"), "Health and figures")) if "longrun_" in row[0]]
    assert sorted(table) == sorted(family.name for family in families(parts, nothing))


def test_the_table_of_celery_states_is_the_backends() -> None:
    table = rows(section(page("celery.md"), "AsyncResult"))
    documented = {state: quoted(row[1])[0] for row in table for state in quoted(row[0])}
    assert documented == STATES


def commands() -> dict[str, list[click.Command]]:
    """Each top-level command, with the commands below it."""
    root = typer.main.get_command(build())
    found = {}
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        found[name] = list(command.commands.values()) if hasattr(command, "commands") else [command]
    return found


def test_every_command_has_its_section() -> None:
    assert set(re.findall(r"^### longrun (\w+)$", page("operating.md"), re.MULTILINE)) == set(commands())


@pytest.mark.parametrize("name", list(commands()))
def test_every_option_of_a_command_is_in_its_section_and_no_other(name: str) -> None:
    text = section(page("operating.md"), f"longrun {name}")
    real = {
        option
        for command in commands()[name]
        for parameter in command.params
        if parameter.param_type_name == "option" and not getattr(parameter, "hidden", False)
        for option in parameter.opts
        if option.startswith("--") and option != "--help"
    }
    assert {option for part in quoted(text) for option in re.findall(r"--[a-z-]+", part)} == real


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_into_the_repository_lead_somewhere(path: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text())):
        ours = OURS.match(link)
        if re.match(r"[a-z]+:", link) and not ours:
            continue
        name, _, anchor = link[ours.end() :].partition("#") if ours else link.partition("#")
        target = ROOT / name if ours else path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)}


def run_as_app(source: str, **names: Any) -> None:
    """Run it as a module of its own, as a runner would import `app.py`."""
    module = types.ModuleType("a_block_of_authoring")
    vars(module).update(names)
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, "app.py", "exec", dont_inherit=True), vars(module))
    finally:
        del sys.modules[module.__name__]


@pytest.mark.parametrize("source", blocks(page("authoring.md"), "python"))
def test_python_blocks_define_models_that_can_be_served(source: str) -> None:
    with isolated_registry() as registry:
        run_as_app(source)
    assert len(registry) > 0
    for spec in registry:
        assert spec.input.json_schema()["type"] == "object"
        assert spec.instantiate() is not None


REFUSED = re.findall(r"^```python raises\n(.*?)^```\n```\n(.*?)^```$", page("authoring.md"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("source", "message"), REFUSED)
def test_wrong_blocks_are_refused_with_the_message_below_them(source: str, message: str) -> None:
    from pydantic import Field

    from longrun import Model, batched, model

    with isolated_registry(), pytest.raises(AuthoringError) as caught:
        run_as_app(source, Field=Field, Model=Model, batched=batched, model=model)
    assert str(caught.value) == message.strip()


def test_all_wrong_blocks_are_tried() -> None:
    assert len(REFUSED) == len(blocks(page("authoring.md"), "python raises")) >= 8
