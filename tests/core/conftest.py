"""What the ops and the chain rule mean is what the reference computes: these tests are of that.

That native code computes the same is what tests/native/ is about.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chainrule import config


@pytest.fixture(autouse=True, scope="module")
def _on_the_reference() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "BACKEND", "reference")
        yield
