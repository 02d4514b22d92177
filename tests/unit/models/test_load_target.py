import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import longrun
from longrun.errors import AuthoringError, SettingsError
from longrun.models import HeavyImportWarning, Registry, load_target

ONE = """
from longrun.models import Model, model

class {name}(Model):
    def predict(self, text: str) -> str:
        return text

@model
def {function}(text: str) -> str:
    return text

not_a_model = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: Path, name: str = "Echo", function: str = "shout") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ONE.format(name=name, function=function))
    return path


def python(code: str) -> str:
    """What another Python process prints."""
    environment = {**os.environ, "PYTHONPATH": str(Path(longrun.__file__).parents[1])}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment).stdout


def names(target: str) -> list[str]:
    return [spec.name for spec in load_target(target)]


def test_a_file_is_a_module_named_as_its_stem(folder, registry):
    write(folder / "lr_one.py")
    specs = load_target("lr_one.py")
    assert [spec.name for spec in specs] == ["echo", "shout"]
    assert {spec.module for spec in specs} == {"lr_one"}
    assert registry.names() == ["echo", "shout"]


def test_a_file_in_a_folder_finds_its_neighbours(folder):
    write(folder / "deep" / "lr_two.py")
    (folder / "deep" / "lr_neighbour.py").write_text("WORD = 'hi'")
    with (folder / "deep" / "lr_two.py").open("a") as file:
        file.write("\nimport lr_neighbour\n")
    assert names("deep/lr_two.py") == ["echo", "shout"]
    assert names(str(folder / "deep" / "lr_two.py")) == ["echo", "shout"]


def test_a_file_inside_a_package_keeps_its_relative_imports(folder):
    write(folder / "lr_package" / "sub" / "app.py")
    for each in ("lr_package", "lr_package/sub"):
        (folder / each / "__init__.py").touch()
    (folder / "lr_package" / "sub" / "words.py").write_text("WORD = 'hi'")
    with (folder / "lr_package" / "sub" / "app.py").open("a") as file:
        file.write("\nfrom .words import WORD\n")
    assert {spec.module for spec in load_target("lr_package/sub/app.py")} == {"lr_package.sub.app"}
    assert names("lr_package.sub.app") == ["echo", "shout"]


def test_a_module_is_found_from_the_working_folder(folder):
    write(folder / "lr_pkg" / "models.py")
    assert names("lr_pkg.models") == ["echo", "shout"]


def test_names_after_a_colon_pick_models(folder, registry):
    write(folder / "lr_three.py")
    assert names("lr_three.py:Echo") == ["echo"]
    assert registry.names() == ["echo"]
    assert names("lr_three:shout, Echo") == ["echo", "shout"]


def test_models_that_are_imported_by_name_or_defined_by_an_imported_module_count(folder):
    write(folder / "lr_named.py", "Named", "named_function")
    write(folder / "lr_whole.py", "Whole", "whole_function")
    (folder / "lr_app.py").write_text("from lr_named import Named\nimport lr_whole\n")
    assert names("lr_app.py") == ["named", "named_function", "whole", "whole_function"]


def test_loading_twice_gives_the_same_models_also_into_another_registry(folder, registry):
    write(folder / "lr_whole.py", "Whole", "whole_function")
    (folder / "lr_twice.py").write_text("import lr_whole\n")
    first = load_target("lr_twice.py")
    other = Registry()
    assert load_target("lr_twice.py", other) == first
    assert other.names() == registry.names() == ["whole", "whole_function"]


def test_models_defined_elsewhere_are_not_returned(folder):
    write(folder / "lr_other.py", "Other", "other_function")
    write(folder / "lr_mine.py", "Mine", "my_function")
    load_target("lr_other.py")
    assert names("lr_mine.py") == ["mine", "my_function"]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("missing.py", "no Python file missing.py"),
        ("missing/app.py", "no Python file missing/app.py"),
        ("lr_missing", "no module 'lr_missing'; give a file such as app.py"),
        ("lr_missing.models", "no module 'lr_missing.models'"),
        ("", "neither a file nor a module"),
        ("not a module", "neither a file nor a module"),
        (":Echo", "neither a file nor a module"),
        ("lr_empty.py", "lr_empty.py holds no model: write `class Name"),
        ("lr_good.py:Eco", "has no 'Eco'; its models are: Echo, shout"),
        ("lr_good.py:not_a_model", "not_a_model is not a model"),
        ("lr_good.py:Echo,", "has no ''"),
        ("json.py", "its name 'json' is taken by"),
        ("folder.d/", "no Python file"),
    ],
)
def test_a_wrong_target_says_what_to_write(folder, target, says):
    write(folder / "lr_good.py")
    write(folder / "json.py")
    (folder / "lr_empty.py").write_text("from longrun.models import Model\n\nclass Base(Model): ...\n")
    with pytest.raises(SettingsError, match=says):
        load_target(target)


def test_the_author_s_own_errors_are_passed_on(folder):
    (folder / "lr_zero.py").write_text("1 / 0")
    (folder / "lr_import.py").write_text("import lr_not_installed")
    (folder / "lr_syntax.py").write_text("def")
    (folder / "lr_wrong.py").write_text("from longrun.models import model\n@model\ndef f(x) -> str: ...\n")
    for target, error in [("lr_zero", ZeroDivisionError), ("lr_import", ModuleNotFoundError), ("lr_syntax", SyntaxError)]:
        with pytest.raises(error):
            load_target(f"{target}.py")
    with pytest.raises(AuthoringError, match="x has no type"):
        load_target("lr_wrong.py")


def test_two_models_of_one_name_in_one_target_are_refused(folder):
    write(folder / "lr_a.py")
    write(folder / "lr_b.py")
    (folder / "lr_both.py").write_text("import lr_a, lr_b")
    with pytest.raises(AuthoringError, match="two models are named 'echo'"):
        load_target("lr_both.py")


@pytest.mark.parametrize("library", ["torch", "jax", "tensorflow", "transformers"])
def test_a_heavy_import_at_module_level_is_warned_about(folder, library):
    (folder / f"{library}.py").write_text("")  # only the name counts
    write(folder / "lr_heavy.py")
    with (folder / "lr_heavy.py").open("a") as file:
        file.write(f"\nimport {library}\n")
    with pytest.warns(HeavyImportWarning, match=rf"lr_heavy.py loads {library}: move the import into load\(\)"):
        load_target("lr_heavy.py")


def test_without_a_heavy_import_there_is_no_warning(folder):
    write(folder / "lr_light.py")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_target("lr_light.py")


def test_another_process_sees_the_same_module_names(folder):
    write(folder / "deep" / "lr_child.py")
    code = "from longrun.models import load_target; print([(s.module, s.name) for s in load_target('deep/lr_child.py')])"
    assert python(code).strip() == str([(spec.module, spec.name) for spec in load_target("deep/lr_child.py")])


def test_importing_the_authoring_part_loads_no_server_and_no_large_library():
    code = "import sys, longrun.models; print(sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = python(code)
    for name in ("celery", "kombu", "redis", "fastapi", "starlette", "numpy", "torch"):
        assert f"'{name}'" not in loaded


def test_what_a_worker_imports_loads_no_web_framework_and_no_client():
    code = "import sys, longrun.wiring, longrun.worker.celery.worker; print(sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = python(code)
    for name in ("fastapi", "starlette", "uvicorn", "httpx", "typer"):
        assert f"'{name}'" not in loaded
