"""Files beside the models hide nothing from the runner, and are found by the models as in plain Python."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import orjson
import psutil
import pytest

EACH_KIND = Path(__file__).with_name("models_of_each_kind.py")
#: What a file that must not be imported does.
HIDES = """
with open({record!r}, "a") as record:
    record.write(__name__ + chr(10))
raise ImportError(f"{{__name__}} is not what was meant")
"""
CASES = {
    "loaded": ({"text": "a b"}, "a b on cpu"),
    "aio": ({"text": "a b"}, "A B"),
    "words": ({"text": "a b"}, "ab"),
    "aio_words": ({"text": "a b"}, "ab"),
    "together": ({"text": "a b"}, "a b"),
    "threads": ({"text": "a b"}, "A B"),
    "submits": ({"text": "a b"}, "a b on cpu celery hiredis http redis"),
}


@pytest.fixture
async def hiding(caller, start_worker, tmp_path):
    """A folder with `app.py`, and a file for each module that a runner has loaded; what was imported of them is in `record`."""
    plain = tmp_path / "plain"
    plain.mkdir()
    shutil.copy(EACH_KIND, plain / "app.py")
    worker = start_worker(app=plain / "app.py", models="modules,submits", LONGRUN_MODELS_MAY_SUBMIT="1")
    # What is imported by a job of a job is loaded here too; the names of this run are those of the runner's own.
    await caller.run("submits", text="a", to="modules")
    loaded = (await caller.run("modules")).output
    assert worker.stop() == 0
    folder, record = tmp_path / "hiding", tmp_path / "record"
    folder.mkdir()
    shutil.copy(EACH_KIND, folder / "app.py")
    for name in set(orjson.loads(loaded)) - {"app", "__main__", "__mp_main__"}:
        (folder / f"{name}.py").write_text(HIDES.format(record=str(record)))
    record.touch()
    return folder, record


async def test_a_file_named_after_a_module_of_the_runner_hides_it_from_no_kind_of_job(caller, start_worker, hiding):
    folder, record = hiding
    # Not started in there: `python -m` itself would find these files.
    start_worker(app=folder / "app.py", folder=folder.parent, LONGRUN_MODELS_MAY_SUBMIT="1")
    for name, (given, expected) in CASES.items():
        job = await caller.run(name, **given)
        assert (job.status, orjson.loads(job.output or b"null")) == ("succeeded", expected), (name, job.error, record.read_text())
    for method in ("fork", "spawn", "forkserver"):
        if method != "fork":
            # The names that are looked for in a new process before we have a say.
            for name in ("longrun.py", "__future__.py"):
                (folder / name).unlink(missing_ok=True)
        job = await caller.run("children", text="a", method=method)
        assert (job.status, job.output) == ("succeeded", b'"AA"'), (method, job.error, record.read_text())
    assert (await caller.run("made", text="a")).status == "succeeded"
    assert "no way" in str((await caller.run("fails", text="no way")).error)
    assert "ValueError" in str((await caller.run("breaks", text="a")).error)
    assert record.read_text() == ""


async def test_the_folder_of_the_models_comes_first_and_lazy_imports_find_their_files(caller, start_worker, tmp_path):
    folder, other = tmp_path / "app", tmp_path / "other"
    for each in (folder, other):
        each.mkdir()
        (each / "beside.py").touch()
    shutil.copy(EACH_KIND, folder / "app.py")
    start_worker(app=folder / "app.py", models="sibling,path,spawned_path", PYTHONPATH=f"{other}{os.pathsep}{folder}")
    assert (await caller.run("sibling", name="beside")).output == orjson.dumps(str(folder))
    path, argv = orjson.loads((await caller.run("path")).output or b"")
    assert path[:2] == [str(folder), str(other)]
    assert path.count(str(folder)) == 1
    assert argv == [str(folder / "app.py")]
    assert orjson.loads((await caller.run("spawned_path")).output or b"") == [path, argv]


async def test_what_a_model_starts_gets_nothing_of_ours(caller, start_worker, tmp_path):
    shutil.copy(EACH_KIND, tmp_path / "app.py")
    worker = start_worker(app=tmp_path / "app.py", models="inherited")
    environment, descriptors, safe_path = orjson.loads((await caller.run("inherited")).output or b"")
    theirs = psutil.Process(worker.process.pid).environ()
    assert {name: value for name, value in environment.items() if theirs.get(name) != value} == {}
    assert descriptors == [0, 1, 2]
    assert safe_path is False
