"""Each row of the contract of steps, S1 to S44, has a test on a real service that is called after it."""

from __future__ import annotations

import re
from pathlib import Path

SERVED = Path(__file__).parents[1] / "integration" / "steps"


def test_each_row_has_a_test_on_a_real_service() -> None:
    names = [
        name for path in SERVED.glob("test_*.py") for name in re.findall(r"^async def (test_\w+)|^def (test_\w+)", path.read_text(), re.M)
    ]
    rows = {int(found[1]) for pair in names for name in pair if (found := re.match(r"test_s(\d\d)_", name))}
    assert rows == set(range(1, 45))
