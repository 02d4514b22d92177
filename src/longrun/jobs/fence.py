"""The fence of a claim: what tells it from every other claim of its job.

The number of an attempt does not do that. A store that has lost its last second (a failover, a power cut) has forgotten the claims of
that second and gives their numbers again, while the first runs go on. So the fence is the number with the claim's nonce,
`<attempt>/<nonce>`. It is a text, which stands so in scripts, in frames, and in the keys of files that the attempt has made. Claims of
deliveries have one too: `<try>/<nonce>`.
"""

from __future__ import annotations

from typing import NewType

Fence = NewType("Fence", str)


def fence_of(attempt: int, nonce: str) -> Fence:
    """The fence of the claim that began this attempt; the nonce holds no `/`."""
    return Fence(f"{attempt}/{nonce}")


def attempt_of(fence: Fence) -> int:
    """The number of the attempt (of the try)."""
    return int(fence.partition("/")[0])
