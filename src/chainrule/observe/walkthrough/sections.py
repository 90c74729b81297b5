"""The four stages of the step, in order, and the words that close it."""

from __future__ import annotations

from chainrule.observe.walkthrough.backward import backward, update
from chainrule.observe.walkthrough.blocks import Section
from chainrule.observe.walkthrough.forward import error, forward
from chainrule.observe.walkthrough.step import AT_A_KINK, DIFFERS, ROUNDING, TOLERANCE, Walkthrough
from chainrule.observe.wording import count


def sections(walk: Walkthrough) -> tuple[Section, ...]:
    """The four stages of a step, in order."""
    return (forward(walk), error(walk), backward(walk), update(walk))


def check_lines(walk: Walkthrough) -> tuple[str, str]:
    """The verdict over all gradients in a line, and what it rests on in another."""
    total, kinks, wrong = len(walk.checks), walk.count(AT_A_KINK), walk.count(DIFFERS)
    is_relative = walk.tolerance > ROUNDING
    within = f"to within {_short(TOLERANCE if is_relative else ROUNDING)}"
    if wrong:
        first = f"{wrong} of {total} gradients DO NOT agree with their numeric derivatives {within}"
    elif kinks:
        first = (
            f"{total - kinks} of {total} gradients agree with their numeric derivatives {within}; "
            f"the other {kinks} lie between the slopes on the two sides of a kink"
        )
    else:
        first = f"every gradient agrees with its numeric derivative {within}"
    scale = (
        "relative to the largest gradient"
        if is_relative
        else f"absolute: the gradients are tiny, {_short(walk.largest_gradient)} at most"
    )
    second = (
        f"The tolerance is {scale}. Checked were {count(total, 'gradient')}, with a largest "
        f"difference of {_short(walk.difference)}; all gradients of the network equal those of the "
        "traced graph as well."
    )
    return first, second


def _short(value: float) -> str:
    """A small number in two digits: 3.8e-14."""
    return f"{value:.2g}".replace("e-0", "e-")
