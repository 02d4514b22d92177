"""What a design studio does, and what it needs for that. It knows no queue, no model and no provider: they are behind two ports.

- `Queue` is how steps are run. `flow.py` runs them as jobs of Longrun, `in_process.py` on threads of this process, a test by hand.
- `Provider` is who does the work of a step. `local.py` has small models on this machine, `provider.py` a service over HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

#: A picture, as the queue at hand passes it on: bytes, or a file that is stored somewhere. The flow never looks into one.
Picture = TypeVar("Picture")
VERSIONS = 4
#: Of the name on a logo: what the typeface that Pillow brings has letters for.
NAME_PATTERN = r"^[A-Za-z0-9][ -~]{0,23}$"
#: Colours from low to high, the darkest first and the lightest last, and what they are for.
PALETTES = {
    "coast": ("a cold blue ocean coast with a sandy beach", ("#0d2a4d", "#1f6f8b", "#e6d296", "#5a9a63", "#f7faf8")),
    "ember": ("a hot red desert sunset, fire, spice and lava", ("#280a1e", "#a02828", "#f08c28", "#ffe6a0")),
    "forest": ("a calm green forest, tea leaves and jade hills", ("#0a281e", "#1e6446", "#82b46e", "#f5f5d2")),
    "dusk": ("a soft pink and violet dreamy evening, music and fashion", ("#1e1e3c", "#6e50a0", "#dc96be", "#fff0e6")),
    "glacier": ("grey winter snow, ice, steel and stone", ("#1e2837", "#5b7083", "#a9bcc8", "#ffffff")),
    "harvest": ("warm golden fields, bread, coffee and honey", ("#2b1a0e", "#7a4a1e", "#d9a441", "#fbf1d7")),
}
#: Shapes that hold the picture, and what they stand for.
MARKS = {
    "circle": "unity, community, wholeness, the sun and the world",
    "hexagon": "technology, structure, engineering, bees and crystals",
    "drop": "water, oil, coffee, care and cleanliness",
    "shield": "trust, safety, insurance, tradition and law",
    "peak": "mountains, ambition, sport, climbing and outdoors",
    "leaf": "nature, plants, tea, organic food and growth",
}


@dataclass(frozen=True)
class Order:
    """What a customer asks for: a `brief` in plain words, and the `name` that the logo shows (NAME_PATTERN)."""

    brief: str
    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME_PATTERN, self.name):
            raise ValueError(f"the name must be 1 to 24 English letters, digits and signs, and begin with no sign, not {self.name!r}")


@dataclass(frozen=True)
class Style:
    """What came out of the brief.

    Attributes:
        palette: a key of PALETTES.
        marks: all keys of MARKS, the one that fits best first: version n gets the n-th.
        roughness: from 0, smooth, to 1, wild.
    """

    palette: str
    marks: list[str]
    roughness: float

    def __post_init__(self) -> None:
        if self.palette not in PALETTES or sorted(self.marks) != sorted(MARKS) or not 0 <= self.roughness <= 1:
            raise ValueError(f"not a style of ours: {self}")


@dataclass(frozen=True)
class Verdict:
    """What the judge thinks: a `score` from 0 to 1 for each picture and a `reason` for each, in their order."""

    scores: list[float]
    reasons: list[str]

    @property
    def best(self) -> int:
        """Index of the picture with the highest score; of equals, the first."""
        return max(range(len(self.scores)), key=lambda index: (self.scores[index], -index))


@dataclass(frozen=True)
class Design(Generic[Picture]):
    """A finished order: all versions, the index of the chosen one, and whether a person chose it (else the judge did)."""

    versions: list[Picture]
    verdict: Verdict
    chosen: int
    by_person: bool


class Queue(Protocol[Picture]):
    """How the steps of an order are run. `draw` and `finish` only say what is to be done: `together` does it, side by side."""

    async def analyse(self, brief: str) -> Style: ...
    def draw(self, prompt: str, style: Style, version: int) -> Any: ...
    def finish(self, draft: Picture, name: str, style: Style, version: int) -> Any: ...
    async def together(self, steps: Sequence[Any]) -> list[Picture]: ...
    async def judge(self, pictures: Sequence[Picture], name: str) -> Verdict: ...

    async def choose(self, pictures: Sequence[Picture], verdict: Verdict) -> int | None:
        """Ask the customer. None: nobody answered in time."""
        ...


class Provider(Protocol):
    """Who does the work of a step; pictures are PNG files.

    `key` names the piece of work: a service that is asked twice with one key must do the work, and bill it, once.

    Raises:
        Busy: asked too often; the same call may succeed later.
        Unavailable: failed, and may succeed when called again.
    """

    def load(self, step: str) -> None:
        """Get ready for that step ("analyse", "draw", "finish" or "judge"), so that no call pays for it."""
        ...

    def analyse(self, brief: str, key: str) -> Style: ...
    def draw(self, prompt: str, style: Style, version: int, key: str) -> bytes: ...
    def enlarge(self, draft: bytes) -> bytes: ...
    def judge(self, pictures: Sequence[bytes], name: str, key: str) -> Verdict: ...


class Unavailable(Exception):
    """The provider failed; it may succeed when called again."""


class Busy(Unavailable):
    """The provider asks to be called again `after` seconds."""

    def __init__(self, after: float) -> None:
        super().__init__(f"the provider is busy for {after:g} s")
        self.after = after


def prompt_of(order: Order, style: Style) -> str:
    """What a painter is asked for. The name is set in type later: painters cannot spell."""
    words = PALETTES[style.palette][0]
    mood = "wild and rugged" if style.roughness > 0.5 else "calm and smooth"
    return f"Abstract relief seen from above, {mood}, in the colours of {words}. For: {order.brief}. No text, no letters."


async def design(order: Order, queue: Queue[Picture]) -> Design[Picture]:
    """The flow: analyse the brief, draw four versions side by side, finish each, judge them, and let a person choose."""
    style = await queue.analyse(order.brief)
    prompt = prompt_of(order, style)
    drafts = await queue.together([queue.draw(prompt, style, version) for version in range(VERSIONS)])
    finished = await queue.together([queue.finish(draft, order.name, style, version) for version, draft in enumerate(drafts)])
    verdict = await queue.judge(finished, order.name)
    choice = await queue.choose(finished, verdict)
    return Design(finished, verdict, verdict.best if choice is None else choice, choice is not None)
