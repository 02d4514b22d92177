"""Everything a runner is started with: made by the worker, and sent to the process as JSON, as the first frame on its pipe.

Not in its environment or on its command line, which others can read, and which a model may print.
"""

from __future__ import annotations

import tempfile
from typing import Any

import msgspec

from longrun.settings import Settings


class RunnerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A new setting is a new field here. One that `Settings` has too is taken from there, by its name."""

    target: str = ""  #: what the runner imports
    models: dict[str, int] = {}  #: jobs (batched: batches) at once, by model
    main_thread: bool = False  #: they are loaded and run on the main thread
    device: str = "cpu"  #: what `load` gets
    load_timeout: float = 1800.0  #: seconds until all models must be loaded
    log_level: str = "info"
    max_output: int = 1 << 62  #: bytes that an output may have
    capture_output: bool = True  #: what models print becomes events of their jobs
    service: dict[str, Any] = {}  #: what `load_settings` returns there (`settings.given_to_models`)
    # -- the blob store
    blobs: str = ""
    data: str = ".longrun"  #: absolute
    durability: str = "relaxed"
    max_file: int = 1 << 30
    copies: str | None = None  #: folder for copies of files, as the worker sees it; None = as the process itself does
    # -- of one process
    parent: int = 0  #: process id of the worker
    #: File descriptor, 1 or 2 → (where to read what is written to it, the operator's log); None = output is not captured.
    pipes: dict[int, tuple[int, int]] | None = None
    times: int = -1  #: file descriptor of the memory for `worker.code_times`, which the worker reads; -1 = nobody does

    @classmethod
    def of(cls, settings: Settings, **others: Any) -> RunnerSettings:
        """The operator's settings, and `others`, which come first."""
        known = {name: getattr(settings, name) for name in cls.__struct_fields__ if name in Settings.model_fields}
        known |= {"data": str(settings.data.absolute()), "copies": tempfile.gettempdir()}
        return cls(**known | others)

    def to_json(self) -> str:
        """For the pipe."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> RunnerSettings:
        """From the pipe."""
        return msgspec.json.decode(text, type=cls)
