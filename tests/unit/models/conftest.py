from collections.abc import Iterator

import pytest

from longrun.models import Registry, isolated_registry


@pytest.fixture(autouse=True)
def registry() -> Iterator[Registry]:
    with isolated_registry() as registry:
        yield registry
