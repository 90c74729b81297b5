"""Code for other processors: older ones of this kind, run here; others, emitted and looked at."""

from __future__ import annotations

import platform
import re
import struct
from collections.abc import Callable

import llvmlite.binding as llvm
import numpy as np
import pytest
from agreeing import assert_near, joined
from test_native_samples import NAMES, graphs
from test_native_samples import (
    test_native_code_computes_what_the_reference_computes as check_sample,
)
from test_native_steps import KEY, NETS, assert_steps_agree, batches, loop_for

from chainrule.native import target
from chainrule.native.program import NativeProgram
from chainrule.native.target import Processor
from chainrule.reference import Interpreter
from chainrule.runtime.steps import CarryBuffers
from samples import SAMPLES, arguments

on_x86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="needs an x86-64 processor"
)

_V2 = "+cx16,+popcnt,+sse3,+sse4.1,+sse4.2,+ssse3"
_V3 = f"{_V2},+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe"
HERE = target.host().triple
OLDER = {
    "x86-64-v2": Processor(HERE, "x86-64-v2", _V2),
    "x86-64-v3": Processor(HERE, "x86-64-v3", _V3),
}
ARM = Processor("aarch64-unknown-linux-gnu", "generic", "+neon,+fp-armv8")
OTHERS = {
    "linux": (ARM, "dropout"),
    "macos": (Processor("arm64-apple-macosx13.0.0", "apple-m1", "+neon,+fp-armv8"), "residual"),
}

Making = Callable[[Processor], None]


@pytest.fixture
def make_for(monkeypatch: pytest.MonkeyPatch) -> Making:
    """Lets all code be made for a processor."""
    return lambda chosen: monkeypatch.setattr(target, "processor", lambda: chosen)


def test_what_follows_from_the_features() -> None:
    """No width is assumed that the processor does not say it has."""
    assert (OLDER["x86-64-v2"].vector_bytes, OLDER["x86-64-v2"].vector_registers) == (16, 16)
    assert (OLDER["x86-64-v3"].vector_bytes, OLDER["x86-64-v3"].vector_registers) == (32, 16)
    assert (ARM.vector_bytes, ARM.vector_registers) == (16, 32)
    wide = Processor("x86_64-unknown-linux-gnu", "znver4", "+avx2,+avx512f")
    assert (wide.vector_bytes, wide.vector_registers) == (64, 32)
    narrowed = Processor("x86_64-unknown-linux-gnu", "skylake-avx512", "+avx2,-avx512f")
    assert narrowed.vector_bytes == 32


# --- older processors of this kind ----------------------------------------------------------


@on_x86
@pytest.mark.parametrize("level", OLDER)
@pytest.mark.parametrize("name", ["relu", "batch norm", "embedding"])
def test_training_steps_run_on_older_processors(level: str, name: str, make_for: Making) -> None:
    make_for(OLDER[level])
    program = NativeProgram(NETS[name].graph(16))
    listing = target.assembly(program.text)
    assert "%zmm" not in listing
    assert ("%ymm" in listing) == (level == "x86-64-v3")
    assert_steps_agree(NETS[name], 5, ulps=256)


@on_x86
@pytest.mark.slow
@pytest.mark.parametrize(("number", "name"), list(enumerate(NAMES)))
def test_every_sample_runs_on_older_processors(number: int, name: str, make_for: Making) -> None:
    """Each on one of them, in turn."""
    level = list(OLDER)[number % len(OLDER)]
    make_for(OLDER[level])
    check_sample(name)


@on_x86
@pytest.mark.parametrize(("level", "name"), [("x86-64-v2", "silu"), ("x86-64-v3", "gelu, binary")])
def test_the_loop_over_steps_runs_on_older_processors(
    level: str, name: str, make_for: Making
) -> None:
    """Many steps in one call, on two threads."""
    make_for(OLDER[level])
    one, rows = NETS[name], batches(10, 16)
    buffers = CarryBuffers(one.carry())
    buffers.put(one.carry())
    loop, graph = loop_for(one, buffers, 16, team=2)
    assert loop.run(rows, 0).steps == 10
    carry, reference = one.carry(), Interpreter(graph)
    for number, chosen in enumerate(rows):
        batch = [one.x[chosen], one.y[chosen], KEY, np.asarray(number, np.uint32)]
        carry = reference([*carry, *batch])[: len(carry)]
    for got, want in zip(buffers.get(), carry, strict=True):
        assert_near(got, want, 1e-12)


# --- ARM ------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def every_target() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


class NotLoaded:
    """Stands for code that this machine could not run."""

    def __init__(self, code: bytes) -> None: ...

    def function(self, name: str, *parameters: object) -> None: ...


@pytest.fixture
def not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are written, and neither compiled nor loaded."""
    monkeypatch.setattr(target, "Code", NotLoaded)
    monkeypatch.setattr(target, "compile_module", lambda *text: b"")


@pytest.mark.usefixtures("not_loaded")
@pytest.mark.parametrize("system", OTHERS)
def test_a_training_run_is_emitted_for_arm(system: str, make_for: Making) -> None:
    """An object file of that machine's kind, with vectors of its width, fused multiply-adds and
    atomic barriers in it, which calls nothing that is not there."""
    made_for, name = OTHERS[system]
    make_for(made_for)
    one = NETS[name]
    loop, _ = loop_for(one, CarryBuffers(one.carry()), 16)
    text = loop.text
    assert f'target triple = "{made_for.triple}"' in text
    code = target._compile(text, 3)
    if system == "linux":
        assert code[:5] == b"\x7fELF\x02"
        assert struct.unpack_from("<H", code, 18) == (183,)  # EM_AARCH64
    else:
        assert struct.unpack_from("<II", code) == (0xFEEDFACF, 0x0100000C)  # 64 bits, ARM64
    listing = target.assembly(text)
    assert re.search(r"fmla(\.2d)?\s+v\d+", listing)
    assert re.search(r"\b(ldaxr|ldadd\w*)\b", listing)
    defined = {name.lstrip("_") for name in re.findall(r"^(\w[\w.]*):", listing, re.MULTILINE)}
    called = {name.lstrip("_") for name in re.findall(r"\bbl\s+([\w.]+)", listing)}
    assert {"steps", "program"} <= defined
    # What the C library of any such system has.
    assert called - defined <= {"memcpy", "memset", "sched_yield", "clock_gettime"}


@pytest.mark.slow
@pytest.mark.usefixtures("not_loaded")
@pytest.mark.parametrize("name", NAMES)
def test_every_sample_is_emitted_for_arm(name: str, make_for: Making) -> None:
    make_for(ARM)
    row = next(row for row in SAMPLES if row.name == name)
    args = arguments(row.cases[0], np.float32)
    code = target._compile(NativeProgram(joined(graphs(row, args))).text, 1)
    assert struct.unpack_from("<H", code, 18) == (183,)
