"""What to use instead of what cannot be traced, and the errors that say so."""

from __future__ import annotations

from chainrule.errors import TraceError
from chainrule.graph import current_origin
from chainrule.tracing.context import scope_name
from chainrule.tracing.frames import user_origin

_RANDOM = "np.random would be frozen into the program: draw before the call, or use cr.random"

ADVICE: dict[str, str] = {
    "np.where": "its result's shape depends on values: use np.where(condition, a, b)",
    "np.nonzero": "its result's shape depends on values: use np.where(condition, a, b)",
    "np.argwhere": "its result's shape depends on values: use np.where(condition, a, b)",
    "np.unique": "its result's shape depends on values: compute it before the call",
    "np.extract": "its result's shape depends on values: use np.where(condition, a, b)",
    "np.compress": "its result's shape depends on values: use np.where(condition, a, b)",
    "np.bincount": "use np.sum(labels[:, None] == np.arange(k), axis=0)",
    "np.histogram": "compute it before the call",
    "np.linalg.inv": "matrix inverses have no rule yet: compute it outside the traced code",
    "np.linalg.solve": "linear solves have no rule yet: compute it outside the traced code",
    "np.linalg.det": "determinants have no rule yet",
    "np.linalg.svd": "matrix decompositions have no rule yet",
    "np.linalg.eigh": "matrix decompositions have no rule yet",
    "np.asarray": "a traced array is an array already: leave np.asarray out",
    "np.random.shuffle": _RANDOM,
    "np.random.permutation": _RANDOM,
    "np.convolve": "use np.lib.stride_tricks.sliding_window_view(x, k.size) @ k[::-1]",
    "np.correlate": "use np.lib.stride_tricks.sliding_window_view(x, k.size) @ k",
    "np.allclose": "compare after the call has returned",
    "np.array_equal": "compare after the call has returned",
    "np.put": "assign by index: x[index] = values",
    "np.copyto": "assign by index: x[...] = values",
    "np.add.at": "assign by index, or sum np.where(labels == k, x, 0) for each k",
    "np.nan_to_num": "use np.where(np.isfinite(x), x, 0.0)",
    "np.spacing": "use np.finfo(x.dtype).eps",
    "np.bitwise_xor": "use (a | b) & ~(a & b)",
    "ndarray.fill": "use x[...] = value",
    "ndarray.sort": "use np.sort(x), which returns a new array",
    "ndarray.resize": "use np.reshape or np.pad",
    "ndarray.tobytes": "take the bytes after the call has returned",
    "ndarray.view": "use .astype to change the dtype, .reshape to change the shape",
    "ndarray.flat": "use x.ravel()",
}


def advice(name: str) -> str:
    """What to use instead of a NumPy function or method."""
    of_function = ADVICE.get(name.replace("ndarray.", "np."))
    return ADVICE.get(name) or of_function or "docs/numpy.md lists what is supported"


def unsupported(name: str, do: str | None = None) -> TraceError:
    """The error for something of NumPy that cannot be traced, with what to use instead."""
    return TraceError(
        f"{name} is not supported in traced code",
        where=str(current_origin() if str(current_origin()) else user_origin()) or None,
        do=do or advice(name.split(" ")[0]),
    )


def concrete(what: str, do: str, where: str = "") -> TraceError:
    """The error for code that needs values, which a trace does not have."""
    return TraceError(what, where=where or str(user_origin(scope_name())) or None, do=do)


def shared(why: str, do: str) -> TraceError:
    """The error for writing to memory that others see."""
    return TraceError(f"cannot write in place: {why}", where=str(current_origin()) or None, do=do)
