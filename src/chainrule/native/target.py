"""This processor, and LLVM on it. With `runtime/`, the only room that imports llvmlite."""

from __future__ import annotations

import ctypes
import os
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


@lru_cache(maxsize=1)
def machine() -> Any:
    """LLVM's description of the processor at hand, for optimising and for emitting code."""
    return _new_machine()


def _new_machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=_features_text(), opt=3, jit=True
    )


@lru_cache(maxsize=1)
def _features_text() -> str:
    text: str = llvm.get_host_cpu_features().flatten()
    return text


@lru_cache(maxsize=1)
def _features() -> dict[str, bool]:
    return dict(llvm.get_host_cpu_features())


def vector_bytes() -> int:
    """The width of the widest vector registers worth using."""
    found = _features()
    return 64 if found.get("avx512f") else 32 if found.get("avx2") else 16


def vector_registers() -> int:
    """How many vector registers there are."""
    return 32 if _features().get("avx512f") or not _features().get("sse2", True) else 16


def header() -> str:
    """What every module begins with."""
    return f'target triple = "{machine().triple}"'


def footer() -> str:
    """The attributes that functions refer to."""
    width = vector_bytes() * 8
    return (
        f'attributes #0 = {{ nounwind "prefer-vector-width"="{width}" '
        '"no-builtins" }\nattributes #1 = { nounwind willreturn memory(none) }\n'
        "attributes #2 = { nounwind noinline cold }"
    )


class Code:
    """Machine code in memory, from an object file. It lives as long as this object."""

    def __init__(self, code: bytes) -> None:
        # The engine owns its machine: one that is shared would be freed twice.
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _new_machine())
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
    return "\0".join([*versions, llvm.get_host_cpu_name(), _features_text(), str(level), text])


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
    builder = _builder(level)
    passes = builder.getModulePassManager()
    passes.run(module, builder)
    # llvmlite never frees one: of its two base classes the one that does nothing comes first.
    NewPassManager._dispose(passes)
    passes.detach()


@lru_cache
def _builder(level: int) -> Any:
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    options.loop_vectorization = False  # vectors are written out already
    options.slp_vectorization = False
    options.loop_unrolling = False  # so are the loops that are worth it
    return llvm.create_pass_builder(machine(), options)
