"""One function at every stage, as text: from the trace to the machine code.

Receives: a function and arguments. Returns: `Stages`, texts by the name of the stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chainrule.graph import Graph, to_text
from chainrule.native.available import missing
from chainrule.pipeline import graph_stages, trace, value_and_grad
from chainrule.tracing import trees
from chainrule.tracing.calls import name_of

if TYPE_CHECKING:
    from chainrule.native.inspection import Kernel

Function = Callable[..., Any]

# Every stage that there can be, in order, and what its text shows.
MEANING = {
    "traced": "the function as a graph of primitive ops",
    "backward": "its value and its gradient by the first argument",
    "rewritten": "the same, made cheaper",
    "regions": "which ops are one kernel, so that what lies between is never stored",
    "loops": "the kernels in the order of their running, with arithmetic and bytes moved",
    "llvm": "the kernels and the program around them as LLVM assembly, before LLVM's own passes",
    "assembly": "what this processor runs",
}


@dataclass(frozen=True)
class Stages(Mapping[str, str]):
    """The texts of a function's stages, by name and in order; prints as all of them.

    `kernels` are those of the compiled program, with their arithmetic and the bytes that they move;
    empty where native code cannot run.
    """

    name: str
    texts: Mapping[str, str]
    kernels: tuple[Kernel, ...]

    def __getitem__(self, stage: str) -> str:
        return self.texts[stage]

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def __str__(self) -> str:
        parts = [f"--- {stage}: {MEANING[stage]}\n\n{text}\n" for stage, text in self.items()]
        return "\n".join(parts)


def stages(function: Function, *args: Any) -> Stages:
    """The function at every stage, for arguments such as these.

    A function whose result is one floating-point number is differentiated by its first argument, as
    by `grad`, and the later stages are those of value and gradient together. Stages that this
    machine does not have (see `backends`) say why. Raises what `trace` raises.
    """
    traced = trace(function, *args)
    texts = {"traced": to_text(traced)}
    subject = function
    if _has_gradient(traced, args):
        subject = value_and_grad(function)
    *_, rewritten = (graphs := graph_stages(subject, *args)).values()
    if subject is not function:
        texts["backward"] = to_text(graphs["traced"])
    texts["rewritten"] = to_text(rewritten)
    if (why := missing()) is not None:
        none = dict.fromkeys(list(MEANING)[3:], f"not on this machine: {why}")
        return Stages(name_of(function), texts | none, ())
    from chainrule.native.inspection import native_stages  # brings LLVM

    native, kernels = native_stages(rewritten)
    return Stages(name_of(function), texts | native, tuple(kernels))


def _has_gradient(graph: Graph, args: tuple[Any, ...]) -> bool:
    """Whether `grad` of the traced function would be one."""
    if len(graph.outputs) != 1 or not args:
        return False
    (value,) = graph.outputs
    leaves = trees.leaves(args[0])
    inputs = graph.inputs[: len(leaves)]
    floats = bool(inputs) and all(n.type.is_float for n in inputs)
    return floats and value.type.is_float and value.shape in ((), (1,))
