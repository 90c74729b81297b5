"""Where the time of a run's step goes, measured on a copy of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import optim
from chainrule.backends import check_native
from chainrule.data import Source, fingerprint, permutation
from chainrule.errors import DataError, UsageError
from chainrule.observe.profile import KernelTime, Profile, profile_text
from chainrule.store import write_atomic
from chainrule.tracing import trees
from chainrule.tracing.context import key_of
from chainrule.training.columns import Columns
from chainrule.training.objective import objective
from chainrule.training.prepare import Prepared, prepare, row_weights_for
from chainrule.training.resume import unpack
from chainrule.training.rundir import RunDirectory
from chainrule.training.settings import Settings
from chainrule.training.step import Layout, StepBuilder
from chainrule.training.streams import resets_of, states_of

if TYPE_CHECKING:
    from chainrule.runtime.profile import Kernel

Array = np.ndarray
_MOST_NUMBERS = 2**18  # of rows that are gathered in one call: they take 2 MiB
_MOST_STEPS = 2**13


def profile(
    directory: RunDirectory,
    net: Any,
    prepared: Prepared,
    seconds: float,
    threads: int | None = None,
) -> Profile:
    """Takes the run's training step for about so many seconds, from the weights of its last
    checkpoint, and tells where the time went; writes that to `profile.json` in its directory, and
    nothing else. `net` is the run's network, with any weights; `threads` is the most that may be
    used (None: as the run was trained).

    Raises ChainruleError where native code, or the time of its kernels, cannot be had here, or the
    step is not one native program; what reading a checkpoint raises.
    """
    check_native("profile")
    from chainrule.runtime.profile import check_clock, time_steps  # brings LLVM
    from chainrule.runtime.steps import CarryBuffers, StepLoop

    check_clock()
    saved = directory.read_config()
    settings = _settings(saved["settings"])
    prepared = _cast(prepared, net)
    threads = threads or settings.threads
    builder, carry = _builder(saved, net, prepared, settings, threads)
    found = directory.checkpoints().load_latest()
    carry, _, _ = unpack(builder.layout, carry, found.arrays, found.info)
    train_rows = prepared.train_rows
    size = settings.rows_per_step(len(train_rows))
    whole = size == len(train_rows)
    sources = _sources(saved, prepared, bool(builder.layout.memory))
    sources = [s[train_rows] for s in sources] if whole else sources
    graph = builder.prepare(carry, [s[:size] for s in sources], False).graph
    buffers = CarryBuffers(carry)
    buffers.put(carry)
    names = [name.rpartition(".")[2] for name in graph.output_names[len(carry) :]]
    key, finite = key_of(settings.seed), names.index("finite")
    loop = StepLoop(
        graph, buffers, sources, finite, key, whole=whole, most_threads=threads, timed=True
    )
    streams = prepared.dataset.streams
    rows = _rows(train_rows, None if streams else settings.seed, size, whole)
    kind = "f64" if carry[0].dtype == np.float64 else "f32"
    times = time_steps(loop, buffers, rows, seconds, kind)
    kernels = tuple(_kernel(*one) for one in times.kernels)
    around = times.whole - times.waiting - sum(k.seconds for k in kernels)
    made = Profile(
        kernels,
        times.whole,
        times.waiting,
        max(around, 0.0),
        times.steps,
        size,
        times.threads,
        times.peak,
    )
    write_atomic(directory.profile, profile_text(made).encode())
    return made


def prepared_again(data: Any, saved: Mapping[str, Any], net: Any) -> Prepared:
    """The data of a run, as `cr.train` was given them; DataError where they are others."""
    about, settings = saved["dataset"], saved["settings"]
    target = about["source"].get("target") if about["source"] else None
    found = _cast(
        prepare(
            data,
            target,
            settings["validation"],
            settings["seed"],
            None if isinstance(data, Source) else about["task"],
            about["symbols"],
        ),
        net,
    )
    kept = about["fingerprint"]
    if kept is not None and fingerprint(found.dataset) != kept:
        raise DataError(
            f"these are not the data that the run on {about['name']} was started with",
            do="give the data that it was trained on",
        )
    return found


def _cast(prepared: Prepared, net: Any) -> Prepared:
    """The data in the dtype of the network's weights, as it is trained on them."""
    trained = [leaf.value.dtype for leaf in trees.leaves(net) if leaf.trained]
    return prepared.cast(np.result_type(*trained))


def _settings(saved: Mapping[str, Any]) -> Settings:
    classes = saved["class_weights"]
    return Settings(**{**saved, "class_weights": None if classes is None else tuple(classes)})


def _builder(
    saved: Mapping[str, Any],
    net: Any,
    prepared: Prepared,
    settings: Settings,
    threads: int | None,
) -> tuple[StepBuilder, list[Array]]:
    """What makes the run's step, and a carry for it."""
    optimizer = optim.from_json(saved["optimizer"])
    if optimizer.full_batch is not None:
        raise UsageError(
            f"{optimizer.name} looks for each step with a program of its own, in Python: a step is "
            "not one native program that could be profiled",
            do="profile a run with another optimiser, such as adam",
        )
    dataset, by_class = prepared.dataset, settings.class_weights
    goal = objective(saved["loss"], dataset.task, dataset.outputs, net, by_class, dataset.time)
    streams, memory = dataset.streams, None
    if streams:
        memory = states_of(net, dataset.x[prepared.train_rows[:streams]])
    layout, carry = Layout.of(net, optimizer, memory)
    return StepBuilder(layout, goal, optimizer, "reference", threads), carry


def _sources(saved: Mapping[str, Any], prepared: Prepared, carries: bool) -> list[Array]:
    """What batches are gathered from. Weights of rows, which no run keeps, are all 1: the step
    takes as long."""
    dataset = prepared.dataset
    given = None if saved["row_weights"] is None else np.ones(dataset.rows)
    weights = row_weights_for(given, dataset, prepared.train_rows)
    resets = resets_of(dataset, prepared.train_rows) if carries else None
    return [*Columns.of(dataset, weights, resets).arrays]


def _rows(train_rows: Array, seed: int | None, size: int, whole: bool) -> Array:
    """The rows of the first epoch's steps, over and over: [steps, size]; without a seed they come
    in order."""
    steps = min(_MOST_STEPS, max(1, _MOST_NUMBERS // size))
    if whole:
        return np.zeros((steps, 0), np.int64)
    order = train_rows
    if seed is not None:
        order = train_rows[permutation(len(train_rows), seed, 0)]
    return np.resize(order, (steps, size))


def _kernel(kernel: Kernel, stage: str, seconds: float) -> KernelTime:
    return KernelTime(
        kernel.name,
        kernel.ops,
        stage,
        kernel.layers[0] if kernel.layers else "",
        kernel.lines[0] if kernel.lines else "",
        kernel.flops,
        kernel.bytes_read + kernel.bytes_written,
        kernel.shared,
        seconds,
    )
