"""Every layer against PyTorch: outputs, gradients by weights and inputs, second derivatives."""

from __future__ import annotations

import pytest
from oracle_images import CASES as IMAGES
from oracle_sequences import CASES as SEQUENCES
from peer import check

from chainrule.nn.registry import LAYERS
from chainrule.tracing import trees

pytestmark = [
    pytest.mark.oracle,
    # PyTorch says that it copies the input there.
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel"),
]

CASES = {**IMAGES, **SEQUENCES}

# Layers whose output is drawn at random, each with random numbers of its own; tests/nn has them.
AT_RANDOM = {"Cutout", "Dropout", "Noise", "RandomCrop", "RandomFlip", "RandomShift"}


@pytest.mark.parametrize(
    ("backend", "dtype"), [("reference", "float64"), ("native", "float64"), ("native", "float32")]
)
@pytest.mark.parametrize("name", CASES)
def test_a_layer_is_pytorchs(name: str, backend: str, dtype: str) -> None:
    """In float64 to 64 units in the last place of the largest number; in float32 to as many of
    float32, against PyTorch in float64 with the same weights."""
    check(CASES[name], backend, dtype)


def test_every_layer_is_compared() -> None:
    seen = {
        type(layer).__name__ for case in CASES.values() for _, layer in trees.layer_paths(case.net)
    }
    assert seen | AT_RANDOM == set(LAYERS)
    assert not seen & AT_RANDOM


def test_the_comparison_sees_a_thousandth() -> None:
    """A peer that is wrong by that much, in its output alone or in a gradient alone, is found."""
    case = CASES["Dense"]

    def scaled(w: object, x: object) -> object:
        return case.peer(w, x) * 1.001

    def leaking(w: object, x: object) -> object:
        found = case.peer(w, x)
        return found + 0.001 * (found - found.detach())

    for peer in (scaled, leaking):
        wrong = type(case)(case.net, case.inputs, peer)
        with pytest.raises(AssertionError, match="Mismatched elements"):
            check(wrong, "reference", "float64")
