"""Running the elementary functions of native code, the numbers to try them on, and their errors."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from scipy import special

from chainrule import nn
from chainrule.native import target
from chainrule.native.ir import Function, index
from chainrule.native.program import NativeProgram
from chainrule.rewrite import rewrite
from chainrule.tracing import capture

Array = Any
CHUNK = 2**18
FORMATS = {"f32": np.dtype(np.float32), "f64": np.dtype(np.float64)}
WHOLE = {"f32": np.dtype(np.uint32), "f64": np.dtype(np.uint64)}
UNARY = ["exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf"]
BINARY = ["power", "arctan2"]

# Where each function has work to do, and numbers around which something changes.
RANGE = {
    "exp": (-110, 95),
    "expm1": (-30, 95),
    "log": (0, 3),
    "log1p": (-1, 2),
    "sin": (-40, 40),
    "cos": (-40, 40),
    "tanh": (-10, 10),
    "erf": (-4.5, 4.5),
}
THRESHOLDS = [
    0.0,
    1.0,
    0.5,
    2.0,
    0.3,
    0.3466,
    0.6667,
    0.7071,
    0.7854,
    0.9219,
    1.3333,
    1.4142,
    1.5708,
]
THRESHOLDS += [3.1416, 3.9375, 9.01, 17.33, 20.0, 87.3366, 88.7228, 103.279, 103.972, 2.0**30]
WIDE_THRESHOLDS = [5.9375, 19.06, 36.7, 708.396, 709.7827, 744.44, 745.133]

# --- running one function ---


@cache
def program(name: str, kind: str) -> NativeProgram:
    """The function over CHUNK numbers, by the whole compiler."""
    function = nn.erf if name == "erf" else getattr(np, name)
    arguments = [np.ones(CHUNK, FORMATS[kind])] * (2 if name in BINARY else 1)
    return NativeProgram(rewrite(capture(function, arguments).graph))


def native(name: str, *arguments: Array) -> Array:
    """The function of arrays no longer than a chunk."""
    size, dtype = arguments[0].size, arguments[0].dtype
    padded = [np.concatenate([a, np.ones(CHUNK - size, dtype)]) for a in arguments]
    run = program(name, "f32" if dtype == np.float32 else "f64")
    return run(padded)[0][:size]


def kernel(
    emit: Callable[..., Any], kind: str, lanes: int, arity: int, cpu: str = ""
) -> Callable[..., Array]:
    """The function by itself, in vectors of so many lanes (0: one number at a time).

    `cpu` names another processor to make the code for, one that this machine can stand in for.
    """
    declared: set[str] = set()
    fn = Function("kernel", ["noalias"] * (arity + 1), declared)
    step = max(lanes, 1)
    with fn.loop(index(0), fn.threads) as block:
        at = fn.mul(block, index(step))
        values = [fn.load(fn.at(p, at, kind), kind, lanes) for p in fn.parameters[:arity]]
        fn.store(emit(fn, *values), fn.at(fn.parameters[-1], at, kind))
    text = [target.header(), fn.text().replace("define internal", "define"), *sorted(declared)]
    module = "\n\n".join([*text, target.footer()])
    code = target.Code(compiled_for(cpu, module) if cpu else target.compile_module(module))
    call = code.function("kernel", *[ctypes.c_void_p] * (arity + 1), *[ctypes.c_int64] * 2)

    def run(*arrays: Array) -> Array:
        assert arrays[0].size % step == 0
        result = np.empty_like(arrays[0])
        call(*(a.ctypes.data for a in (*arrays, result)), 0, result.size // step)
        return result

    return run


def compiled_for(cpu: str, text: str) -> bytes:
    """A module as an object file for a processor of this machine's kind, without its extras."""
    target.machine()  # prepares LLVM
    machine = llvm.Target.from_default_triple().create_target_machine(cpu=cpu, opt=3, jit=True)
    module = llvm.parse_assembly(text)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    code: bytes = machine.emit_object(module)
    return code


# --- judging ---


def reference(name: str) -> Callable[..., Array]:
    return special.erf if name == "erf" else getattr(np, name)


def ulps(got: Array, want: Array) -> Array:
    """The error in units in the last place of the right result, which has more digits than `got`;
    infinite where one is NaN or infinite and the other is not, or a zero has the wrong sign."""
    rounded = want.astype(got.dtype)
    unit = np.spacing(np.minimum(np.abs(rounded), np.finfo(got.dtype).max))
    error = np.abs(got - want) / unit
    if np.isfinite(error).all() and rounded.all():
        return error
    same = (got == rounded) & ~np.isfinite(got) | np.isnan(got) & np.isnan(want)
    error = np.where(same, 0, np.where(np.isnan(error), np.inf, error))
    wrong = (got == 0) & (rounded == 0) & (np.signbit(got) != np.signbit(want))
    return np.where(wrong, np.inf, error)


# --- numbers ---


def bit_patterns(kind: str, count: int, random: np.random.Generator) -> Array:
    """Numbers spread evenly over all bit patterns: every exponent, subnormals, NaN."""
    bits = 32 if kind == "f32" else 64
    step = 2**bits // count
    base = np.arange(count, dtype=np.uint64) * np.uint64(step)
    inside = random.integers(0, step, count, dtype=np.uint64)
    return (base + inside).astype(WHOLE[kind]).view(FORMATS[kind])


def neighbours(kind: str, values: list[float], count: int) -> Array:
    """The numbers next to some values, on both sides, and their negatives."""
    found = []
    for value in values:
        middle = int(FORMATS[kind].type(value).view(WHOLE[kind]))
        near = np.arange(max(middle - count, 0), middle + count, dtype=WHOLE[kind])
        found += [near.view(FORMATS[kind]), -near.view(FORMATS[kind])]
    return np.concatenate(found)


def single_inputs(name: str) -> Array:
    """2^24 bit patterns, all numbers around thresholds, and more where the function bends."""
    random = np.random.default_rng(0)
    low, high = RANGE[name]
    parts = [
        bit_patterns("f32", 2**24, random),
        neighbours("f32", THRESHOLDS, 2**13),
        random.uniform(low, high, 2**21).astype(np.float32),
        random.uniform(-1, 1, 2**20).astype(np.float32),
    ]
    return np.concatenate(parts)


def double_inputs(name: str, count: int) -> Array:
    random = np.random.default_rng(1)
    low, high = RANGE[name]
    parts = [
        bit_patterns("f64", count // 4, random),
        neighbours("f64", THRESHOLDS + WIDE_THRESHOLDS, count // 2**10),
        random.uniform(low, high, count // 2),
        random.uniform(8 * low, 8 * high, count // 8),
        random.uniform(-1, 1, count // 8),
    ]
    return np.concatenate(parts)


def pairs(name: str, kind: str, count: int) -> tuple[Array, Array]:
    """Pairs spread over all bit patterns, pairs of moderate size, and powers near the ends."""
    random = np.random.default_rng(2)
    dtype, part = FORMATS[kind], count // 4
    scatter = [random.permutation(bit_patterns(kind, 2 * part, random)) for _ in range(2)]
    size = np.exp(random.uniform(-5, 5, 2 * part))
    exponent = random.uniform(-1, 1, 2 * part) * (104 if kind == "f32" else 745) / np.log(size)
    if name == "arctan2":
        size, exponent = random.standard_normal((2, 2 * part))
    exponent[:part] = np.rint(exponent[:part])
    return (
        np.concatenate([scatter[0], size.astype(dtype)]),
        np.concatenate([scatter[1], exponent.astype(dtype)]),
    )
