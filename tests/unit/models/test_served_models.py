"""`create_app("models.py")` serves the models of that file, whatever else the process has defined."""

from __future__ import annotations

import importlib

from longrun import create_app, model
from longrun.models import default_registry
from longrun.settings import load_settings
from longrun.wiring import find_models

MODEL = "from longrun import model\n@model\ndef echo(text: str) -> str:\n    return {who!r}\n"


def served(app, folder):
    document = create_app(app, settings=load_settings(data=folder / "data")).openapi()
    return {path for path in document["paths"] if "/models/" in path and path.endswith("/jobs") and "{" not in path}


def test_another_model_of_the_same_name_in_this_process_is_no_obstacle(folder):
    @model
    def echo(text: int) -> int:
        """Somebody else's."""
        return text

    (folder / "lr_serves.py").write_text(MODEL.format(who="file"))
    _, [spec] = find_models(load_settings(app="lr_serves.py"))
    assert spec.target("") == "file"
    assert default_registry().get("echo").target is echo


def test_an_application_has_the_same_models_the_second_time_and_after_another_import(folder, monkeypatch):
    (folder / "lr_again.py").write_text(MODEL.format(who="again"))
    first = served("lr_again.py", folder)
    assert served("lr_again.py", folder) == first
    assert served(str(folder / "lr_again.py"), folder) == first
    monkeypatch.syspath_prepend(folder)
    (folder / "lr_other.py").write_text(MODEL.format(who="other").replace("echo", "other"))
    importlib.import_module("lr_other")
    assert served("lr_again.py", folder) == first
    assert served("lr_other.py", folder) != first
