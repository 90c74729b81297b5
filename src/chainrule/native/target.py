"""This processor, and LLVM on it. With `runtime/`, the only room that imports llvmlite."""

from __future__ import annotations

import ctypes
import os
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Any

import llvmlite
import llvmlite.binding as llvm
from llvmlite.binding.newpassmanagers import NewPassManager

from chainrule import config
from chainrule.native import cache

# llvmlite lets one thread at a time into LLVM. A fork waits until none is there: a child that is
# born in the middle of another thread's compilation would find LLVM locked for ever.
if hasattr(os, "register_at_fork"):
    _lock = llvm.ffi.lib._lock
    os.register_at_fork(
        before=_lock.__enter__, after_in_parent=_lock.__exit__, after_in_child=_lock.__exit__
    )


@dataclass(frozen=True)
class Processor:
    """What code is made for: LLVM's words for it, and what follows from them."""

    triple: str
    name: str
    features: str  # such as "+avx2,+fma,-avx512f"

    def has(self, feature: str) -> bool:
        return f"+{feature}" in self.features.split(",")

    @property
    def vector_bytes(self) -> int:
        """The width of the widest vector registers worth using."""
        return 64 if self.has("avx512f") else 32 if self.has("avx2") else 16

    @property
    def vector_registers(self) -> int:
        """How many vector registers there are."""
        return 32 if self.has("avx512f") or not self.triple.startswith("x86_64") else 16


@lru_cache(maxsize=1)
def host() -> Processor:
    """The processor at hand."""
    features: str = llvm.get_host_cpu_features().flatten()
    return Processor(llvm.get_process_triple(), llvm.get_host_cpu_name(), features)


def processor() -> Processor:
    """The processor that code is made for."""
    return host()


def machine() -> Any:
    """LLVM's description of the processor, for optimising and for emitting code."""
    return _machine(processor())


@lru_cache
def _machine(made_for: Processor) -> Any:
    return _new_machine(made_for)


def _new_machine(made_for: Processor) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(made_for.triple).create_target_machine(
        cpu=made_for.name, features=made_for.features, opt=3, jit=True
    )


def vector_bytes() -> int:
    """The width of the widest vector registers worth using."""
    return processor().vector_bytes


def vector_registers() -> int:
    """How many vector registers there are."""
    return processor().vector_registers


def header() -> str:
    """What every module begins with."""
    return f'target triple = "{machine().triple}"'


def footer() -> str:
    """The attributes that functions refer to."""
    kernels = f'"prefer-vector-width"="{vector_bytes() * 8}" "no-builtins"'
    return "\n".join(
        [
            f"attributes #0 = {{ nounwind {kernels} }}",
            "attributes #1 = { nounwind willreturn memory(none) }",
            "attributes #2 = { nounwind noinline cold }",
            f"attributes #3 = {{ nounwind noinline {kernels} }}",
        ]
    )


class Code:
    """Machine code in memory, from an object file. It lives as long as this object."""

    def __init__(self, code: bytes) -> None:
        # The engine owns its machine: one that is shared would be freed twice.
        own = _new_machine(host())
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), own)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()

    def function(self, name: str, *parameters: Any) -> Any:
        """A function of the code, to be called without the interpreter's lock."""
        address = self._engine.get_function_address(name)
        call: Any = ctypes.CFUNCTYPE(None, *parameters)(address)
        call.code = self  # whoever holds the function keeps the code
        return call


def compile_module(text: str, level: int = 3) -> bytes:
    """A module as an object file: from the cache, or parsed, verified, optimised and emitted."""
    return cache.get(cache_key(text, level), lambda: _compile(text, level))


def cache_key(text: str, level: int) -> str:
    """All that the object file of a module follows from."""
    version = ".".join(map(str, llvm.llvm_version_info))
    versions = [config.VERSION, llvmlite.__version__, version]
    return "\0".join([*versions, *astuple(processor()), str(level), text])


def _compile(text: str, level: int) -> bytes:
    module = llvm.parse_assembly(text)
    module.verify()
    optimise(module, level)
    code: bytes = machine().emit_object(module)
    return code


def assembly(text: str, level: int = 3) -> str:
    """The machine code of a module, as text."""
    module = llvm.parse_assembly(text)
    optimise(module, level)
    code: str = machine().emit_assembly(module)
    return code


def optimise(module: Any, level: int) -> None:
    """LLVM's own passes, without those that look for vectors."""
    builder = _builder(processor(), level)
    passes = builder.getModulePassManager()
    passes.run(module, builder)
    # llvmlite never frees one: of its two base classes the one that does nothing comes first.
    NewPassManager._dispose(passes)
    passes.detach()


@lru_cache
def _builder(made_for: Processor, level: int) -> Any:
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    options.loop_vectorization = False  # vectors are written out already
    options.slp_vectorization = False
    options.loop_unrolling = False  # so are the loops that are worth it
    return llvm.create_pass_builder(machine(), options)
