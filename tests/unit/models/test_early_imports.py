"""What the runner and its libraries import late, in functions, is loaded before the models are."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator

#: Late imports that no code of ours comes to, by why.
LEFT_OUT = {
    "other systems": "_aix_support _android_support _apple_support _ios_support _osx_support _winapi _winreg java msvcrt nt plistlib "
    "vms_lib winreg",
    "what runs when a module is the program, and tests of modules": "doctest getopt pprint py_compile statistics test",
    "notebooks": "IPython",
    "settings from elsewhere, and other formats": "attrs azure boto3 google tomli tomli_w tomllib yaml",
    "only an author's own call comes to it": "chardet configparser getpass xmlrpc",
    "built in, or in other versions": "_sysconfig _tokenize annotationlib",
    "loaded where it is installed": "PIL",
}
CODE = """
import json, sys
import longrun.observe.logs, longrun.worker.runner.host, longrun.worker.runner.pipe, longrun.worker.runner.streams
from longrun.models import early_imports
early_imports.load()
origins = {name: getattr(getattr(module, "__spec__", None), "origin", None) for name, module in sys.modules.items()}
print(json.dumps(origins))
"""


def late_imports(text: str) -> Iterator[str]:
    """Top-level modules that functions of a module import by their absolute names."""
    for function in ast.walk(ast.parse(text)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from (alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    yield (node.module or "").partition(".")[0]


def test_what_is_imported_late_is_loaded_early_or_left_out_for_a_reason():
    done = subprocess.run([sys.executable, "-P", "-c", CODE], capture_output=True, text=True, check=True)
    origins = json.loads(done.stdout)
    loaded = {name.partition(".")[0] for name in origins}
    left_out = {name for names in LEFT_OUT.values() for name in names.split()}
    missing: dict[str, set[str]] = {}
    for name, origin in origins.items():
        if not origin or not origin.endswith(".py"):
            continue
        with open(origin, encoding="utf-8") as file:  # noqa: PTH123
            for top in late_imports(file.read()):
                if top not in loaded and top not in left_out:
                    missing.setdefault(top, set()).add(name)
    assert missing == {}
    assert {"queue", "tarfile", "_strptime", "multiprocessing", "stringprep"} <= loaded
