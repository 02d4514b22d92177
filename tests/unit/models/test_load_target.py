import ast
import importlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import longrun
from longrun.errors import AuthoringError, SettingsError
from longrun.models import HeavyImportWarning, Registry, load_target, models_beside

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


def test_models_that_a_target_does_not_pick_are_known_too(folder):
    write(folder / "lr_picked.py")
    assert names("lr_picked.py:shout") == ["shout"]
    loaded = sys.modules["lr_picked"]
    assert [spec.name for spec in models_beside("lr_picked.py:shout")] == ["echo", "shout"]
    assert sys.modules["lr_picked"] is loaded


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


def import_module(*names: str) -> None:
    """As other code of the process would, with the folder on its path."""
    sys.path.insert(0, str(Path.cwd()))
    for name in names:
        importlib.import_module(name)
    sys.path.pop(0)


#: Target → what was imported before, by others.
BEFORE = {
    "lr_app.py": [["lr_app"], ["lr_whole"], ["lr_named", "lr_package"], ["lr_package.views"], ["lr_plugin"], ["lr_hub"]],
    "lr_package/tasks.py": [["lr_package"], ["lr_package.tasks"], ["lr_package.views"], ["lr_app"]],
    "lr_package.tasks": [["lr_package.tasks"], ["lr_package.views", "lr_whole"]],
    "lr_package/__init__.py": [["lr_package.views"], ["lr_app"]],
}


@pytest.mark.parametrize(("target", "before"), [(target, before) for target in BEFORE for before in BEFORE[target]])
def test_the_models_are_the_same_whatever_was_imported_before(folder, target, before):
    write(folder / "lr_whole.py", "Whole", "whole_function")
    write(folder / "lr_named.py", "Named", "named_function")
    write(folder / "lr_late.py", "Late", "late_function")
    write(folder / "lr_checked.py", "Checked", "checked_function")
    write(folder / "lr_plugin.py", "Plugin", "plugin_function")
    write(folder / "lr_package" / "views.py", "View", "view_function")
    write(folder / "lr_package" / "tasks.py", "Task", "task_function")
    (folder / "lr_package" / "__init__.py").write_text("from . import views\n")
    with (folder / "lr_package" / "tasks.py").open("a") as file:
        file.write("\nfrom .views import View\n")
    (folder / "lr_hub.py").write_text("try:\n    import lr_plugin\nexcept ImportError:\n    pass\nELSE = 1\n")
    (folder / "lr_app.py").write_text(
        "from typing import TYPE_CHECKING\nfrom lr_named import Named\nfrom lr_hub import ELSE\nimport lr_whole, lr_package.views\n"
        "if TYPE_CHECKING:\n    import lr_checked\n"
        "def later():\n    import lr_late\n"
    )
    code = "from longrun.models import load_target; print([spec.name for spec in load_target({!r})])"
    alone = ast.literal_eval(python(code.format(target)))
    import_module("lr_late", "lr_checked", *before)
    other = Registry()
    assert [spec.name for spec in load_target(target, other)] == alone
    assert load_target(target) == load_target(target, Registry())
    assert other.names() == alone


def test_models_of_modules_that_the_target_imports_by_a_computed_name_count_also_when_it_was_imported_before(folder):
    write(folder / "lr_plugins" / "one.py", "One", "one_function")
    (folder / "lr_loader.py").write_text(
        "from importlib import import_module\nfor name in ['one']:\n    import_module(f'lr_plugins.{name}')\n"
    )
    import_module("lr_loader")
    assert names("lr_loader.py") == ["one", "one_function"]


def test_models_that_a_function_of_another_module_makes_belong_to_who_calls_it(folder):
    (folder / "lr_factory.py").write_text(
        "from longrun.models import model\n\ndef make(name):\n    @model(name=name)\n    def made(text: str) -> str:\n        return text\n"
    )
    for name in ("lr_left", "lr_right"):
        (folder / f"{name}.py").write_text(f"import lr_factory\nlr_factory.make({name!r})\n")
    import_module("lr_left", "lr_right")
    assert names("lr_left.py") == ["lr_left"]
    assert names("lr_right.py") == ["lr_right"]


def test_the_same_file_by_another_path_or_from_another_folder_gives_the_same_models(folder, monkeypatch):
    write(folder / "deep" / "lr_paths.py")
    first = load_target("deep/lr_paths.py")
    assert load_target(str(folder / "deep" / "lr_paths.py")) == first
    monkeypatch.chdir(folder / "deep")
    assert load_target("lr_paths.py") == load_target("lr_paths") == load_target("../deep/lr_paths.py") == first
    (folder / "link.py").symlink_to(folder / "deep" / "lr_paths.py")
    assert load_target(str(folder / "link.py")) == first


def test_files_of_one_name_in_two_folders_are_both_served_with_their_own_neighbours(folder):
    for each in ("one", "two"):
        write(folder / each / "lr_models.py", f"{each.title()}", f"{each}_function")
        helper = write(folder / each / "lr_helper.py", f"Helper{each.title()}", f"{each}_helper")
        helper.write_text(f"{helper.read_text()}WHO = {each!r}\n")
        with (folder / each / "lr_models.py").open("a") as file:
            file.write("\nimport lr_helper\nWHO = lr_helper.WHO\n")
    assert names("one/lr_models.py") == ["helper_one", "one", "one_function", "one_helper"]
    theirs, helper = sys.modules["lr_models"], sys.modules["lr_helper"]
    second = load_target("two/lr_models.py")
    assert [spec.name for spec in second] == ["helper_two", "two", "two_function", "two_helper"]
    assert second[1].target.predict.__globals__["WHO"] == "two"
    assert load_target("two/lr_models.py:Two") == second[1:2]
    assert load_target("two/lr_models.py") == second
    assert sys.modules["lr_models"] is theirs
    assert sys.modules["lr_helper"] is helper
    assert theirs.WHO == helper.WHO == "one"
    assert names("one/lr_models.py") == ["helper_one", "one", "one_function", "one_helper"]


def test_a_file_that_makes_an_application_of_itself_is_loaded(folder):
    write(folder / "lr_self.py")
    with (folder / "lr_self.py").open("a") as file:
        file.write(
            "\nfrom longrun.models import Registry, load_target\nSEEN = [spec.name for spec in load_target('lr_self.py', Registry())]\n"
        )
    assert names("lr_self.py") == ["echo", "shout"]
    assert sys.modules["lr_self"].SEEN == ["echo", "shout"]


def test_the_folder_comes_first_while_the_target_is_imported_and_then_where_it_was(folder):
    (folder / "deep").mkdir()
    write(folder / "deep" / "lr_order.py")
    with (folder / "deep" / "lr_order.py").open("a") as file:
        file.write("\nimport sys\nPATH = list(sys.path)\nsys.path.insert(0, '/theirs')\n")
    here, before = str(folder / "deep"), list(sys.path)
    load_target("deep/lr_order.py")
    assert [here, *before] == sys.modules["lr_order"].PATH
    assert sys.path == ["/theirs", *before, here]
    load_target("deep/lr_order.py")
    assert sys.path == ["/theirs", *before, here]
    load_target("deep/lr_order.py", folder_stays_first=True)
    assert sys.path == [here, "/theirs", *before]


def test_a_folder_that_is_further_back_in_the_path_comes_first_all_the_same(folder):
    for each in ("other", "deep"):
        (folder / each).mkdir()
        (folder / each / "lr_both_there.py").write_text(f"WHO = {each!r}")
        sys.path.insert(0, str(folder / each))
    sys.path.insert(0, str(folder / "other"))
    write(folder / "deep" / "lr_behind.py")
    with (folder / "deep" / "lr_behind.py").open("a") as file:
        file.write("\nimport lr_both_there\n")
    before = list(sys.path)
    load_target("deep/lr_behind.py")
    assert sys.modules["lr_behind"].lr_both_there.WHO == "deep"
    assert sys.path == before


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
        ("lr_good.v2.py", "a dot in its name; rename the file"),
    ],
)
def test_a_wrong_target_says_what_to_write(folder, target, says):
    write(folder / "lr_good.py")
    write(folder / "lr_good.v2.py")
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


ONE_MODEL = "from longrun import model\n@model\ndef echo(text: str) -> str:\n    return text\n"
LAZY = """
import importlib.util, sys
spec = importlib.util.find_spec({name!r})
spec.loader = loader = importlib.util.LazyLoader(spec.loader)
late = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
loader.exec_module(late)
"""


def test_a_module_that_is_to_be_loaded_when_it_is_first_used_is_not_loaded(folder):
    (folder / "lr_late.py").write_text("raise ImportError('there is no GPU')\n")
    (folder / "lr_uses_late.py").write_text(LAZY.format(name="lr_late") + ONE_MODEL)
    for _ in range(2):
        assert [spec.name for spec in load_target("lr_uses_late.py", Registry())] == ["echo"]


def test_whatever_is_in_the_namespace_or_among_the_modules_is_not_asked_for_anything(folder):
    odd = "import sys\nclass Odd:\n    __slots__ = ()\n    def __getattr__(self, name): raise RuntimeError(name)\n"
    (folder / "lr_odd.py").write_text(f"{odd}odd = sys.modules['lr_odder'] = Odd()\n{ONE_MODEL}")
    for _ in range(2):
        assert [spec.name for spec in load_target("lr_odd.py", Registry())] == ["echo"]
