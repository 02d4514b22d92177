"""Out of memory: how an exception says so, what is freed then, and how large a batch may be from then on."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
#: What PyTorch (also its MPS backend), CuPy, TensorFlow and cuBLAS say, in lower case.
_SIGNS = ("out of memory", "outofmemoryerror", "cublas_status_alloc_failed")
#: JAX says RESOURCE_EXHAUSTED in these; clients of gRPC use the same word for a quota.
_JAX = ("XlaRuntimeError", "JaxRuntimeError")
#: So many full batches in a row are done before a larger one is tried, twice as many after each time that failed, this many at most.
_GROW_AFTER, _GROW_MOST = 64, 4096


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there was not enough memory, of the machine or of a GPU. Loads no library to find out."""
    if isinstance(error, MemoryError):
        return True
    try:
        said = str(error)
    except Exception:
        said = ""
    name = type(error).__name__
    if name in _JAX and "RESOURCE_EXHAUSTED" in said:
        return True
    return any(sign in f"{name} {said}".lower() for sign in _SIGNS)


def release(error: BaseException) -> None:
    """Free what the failed call held: the variables of its frames, cyclic garbage, and what PyTorch keeps of the GPU for later.

    Torch is asked only where the model has loaded it and uses CUDA already.
    """
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__
    gc.collect()
    cuda = _cuda()
    if cuda is not None:
        cuda.empty_cache()


def gpu_memory() -> list[int] | None:
    """Bytes of GPU memory that PyTorch has allocated and reserved here, and the most it has ever reserved; None = it uses no CUDA."""
    cuda = _cuda()
    if cuda is None:
        return None
    devices = range(cuda.device_count())
    return [sum(read(n) for n in devices) for read in (cuda.memory_allocated, cuda.memory_reserved, cuda.max_memory_reserved)]


def _cuda() -> Any:
    cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if hasattr(cuda, "is_initialized") and cuda.is_initialized() else None


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

    def again(self, part: Sequence[T], error: BaseException) -> None:
        """`part` raised, and is run again: in smaller parts where memory was short, else item by item, as any of them may be bad."""
        size = 1
        if is_out_of_memory(error):
            self._fit.failed(len(part))
            size = min(self._fit.size, (len(part) + 1) // 2)
        self._plan(part, size)

    def _plan(self, part: Sequence[Any], size: int) -> None:
        self._todo.extend(list(part[at : at + size]) for at in reversed(range(0, len(part), size)))
