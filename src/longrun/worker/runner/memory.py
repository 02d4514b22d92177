"""Out of memory: how an exception says so, what is freed then, and how large a batch may be from then on."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from longrun.worker.runner.exception_text import class_name, connected
from longrun.worker.runner.own_log import log

T = TypeVar("T")
#: What PyTorch (also its MPS backend), CuPy, TensorFlow and cuBLAS say, in lower case.
_SIGNS = ("out of memory", "outofmemoryerror", "cublas_status_alloc_failed")
#: JAX says RESOURCE_EXHAUSTED in these; clients of gRPC use the same word for a quota.
_JAX = ("XlaRuntimeError", "JaxRuntimeError")
#: So many full batches in a row are done before a larger one is tried, twice as many after each time that failed, this many at most.
_GROW_AFTER, _GROW_MOST = 64, 4096


def says_out_of_memory(name: str, text: str) -> bool:
    """Whether an exception of this class name and text is about memory, of the machine or of a GPU. Loads no library to find out."""
    if name in _JAX and "RESOURCE_EXHAUSTED" in text:
        return True
    return any(sign in f"{name} {text}".lower() for sign in _SIGNS)


def release(error: BaseException) -> None:
    """Free what the failed call held: the variables of its frames, cyclic garbage, and what PyTorch keeps of the GPU for later.

    Torch is asked only where the model has loaded it and uses CUDA already.
    """
    for each in connected(error):
        # Not by `traceback.clear_frames`: one exception may have been raised by several jobs, and that would end the generators of others.
        BaseException.with_traceback(each, None)
    gc.collect()
    cuda = _cuda()
    if cuda is not None:
        try:
            cuda.empty_cache()
        except BaseException as trouble:  # after some errors nothing works on a GPU any more
            log.warning("PyTorch could not free its cache", cause=class_name(type(trouble)))


def gpu_memory() -> list[int] | None:
    """Bytes of GPU memory that PyTorch has allocated and reserved here, and the most it has ever reserved; None = it uses no CUDA."""
    cuda = _cuda()
    if cuda is None:
        return None
    try:
        devices = range(cuda.device_count())
        reads = cuda.memory_allocated, cuda.memory_reserved, cuda.max_memory_reserved
        return [int(sum(read(n) for n in devices)) for read in reads]
    except BaseException as trouble:  # after some errors nothing works on a GPU any more; or it is no PyTorch
        log.warning("PyTorch does not say what memory it holds", cause=class_name(type(trouble)))
        return None


def _cuda() -> Any:
    try:
        cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
        return cuda if hasattr(cuda, "is_initialized") and cuda.is_initialized() is True else None
    except BaseException:  # a module that an author has put in its place
        return None


class Fit:
    """How many items of a batch the memory has room for, as far as this runner has found out; `most`: the model's `max_size`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = most  #: items of the largest batch that is run
        self._good = self._calm = 0
        self._patience = _GROW_AFTER

    def failed(self, size: int) -> None:
        """A batch of `size` was too large: half of it comes next, or the largest that went well."""
        if size <= self._good:
            self._good = 0  # not any more
        elif self._good:
            self._patience = min(_GROW_MOST, self._patience * 2)
        self.size = max(1, min(self.size, max(size // 2, self._good)))
        self._calm = 0

    def fitted(self, size: int) -> None:
        """A batch of `size` went well. After many full ones a quarter more is tried."""
        self._good = max(self._good, size)
        if size < self.size or self.size == self.most:
            return
        self._calm += 1
        if self._calm >= self._patience:
            self._calm = 0
            self.size = min(self.most, self.size + max(1, self.size // 4))


class Calls:
    """The calls of `predict` that one batch takes: one, unless it is too large for the memory or raises.

    Iterate over it and make each call; what is planned by `again` comes later in the same iteration.
    """

    def __init__(self, group: Sequence[T], fit: Fit) -> None:
        self._fit = fit
        self._todo = [list(group)]  # the next one last

    def __iter__(self) -> Iterator[list[Any]]:
        while self._todo:
            part = self._todo.pop()
            if len(part) > self._fit.size:
                self._plan(part, self._fit.size)
            else:
                yield part

    def again(self, part: Sequence[T], *, out_of_memory: bool) -> None:
        """`part` raised, and is run again: in smaller parts where memory was short, else item by item, as any of them may be bad."""
        size = 1
        if out_of_memory:
            self._fit.failed(len(part))
            size = min(self._fit.size, (len(part) + 1) // 2)
        self._plan(part, size)

    def _plan(self, part: Sequence[Any], size: int) -> None:
        self._todo.extend(list(part[at : at + size]) for at in reversed(range(0, len(part), size)))
