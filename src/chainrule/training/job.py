"""One run from its first event to its last: in memory, in a new directory, or where one stopped."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.backends import backend_for
from chainrule.config import VERSION
from chainrule.data import fingerprint
from chainrule.errors import ConvergenceError, NonFiniteError, UsageError
from chainrule.observe import Console, MemoryRecord, RecordWriter, fan_out, read_record
from chainrule.observe.events import Evaluated, RunEnded, RunStarted, Watcher
from chainrule.optim import Optimizer, to_json
from chainrule.reference import one_blas_thread
from chainrule.training.attention import attention
from chainrule.training.evaluate import evaluated
from chainrule.training.examples import examples
from chainrule.training.filters import first_filters
from chainrule.training.generation import sample
from chainrule.training.interrupt import stop_on_signals
from chainrule.training.loop import Best, Loop
from chainrule.training.objective import Objective
from chainrule.training.prepare import Prepared
from chainrule.training.progress import Standing
from chainrule.training.result import Run
from chainrule.training.resume import check_same, digest, pack, unpack
from chainrule.training.rundir import RunDirectory
from chainrule.training.settings import Settings
from chainrule.training.step import Carry, Layout

Array = np.ndarray


@dataclass
class Job:
    """One call of `train`, after its arguments have been checked."""

    net: Any
    prepared: Prepared
    settings: Settings
    objective: Objective
    optimizer: Optimizer
    layout: Layout
    carry: Carry
    row_weights: Array | None
    command: tuple[str, ...]  # what was typed; empty in Python

    def config(self, saved: bool) -> dict[str, Any]:
        """Everything that a resumed run, `predict` and the report need, in JSON values; what only a
        saved run needs is left out of others."""
        dataset = self.prepared.dataset
        encoder = self.prepared.encoder
        return {
            "chainrule": VERSION,
            "dataset": {
                "name": dataset.name,
                "task": dataset.task,
                "classes": list(dataset.classes),
                "feature_names": list(dataset.feature_names),
                "row_shape": list(dataset.x.shape[1:]),
                "symbols": dataset.x.dtype.kind in "iu",
                "time": dataset.time,
                "source": dataset.source,
                "fingerprint": fingerprint(dataset) if saved else None,
            },
            "encoder": None if encoder is None else encoder.to_json(),
            "net": nn.to_json(self.net) if saved else str(self.net),
            "loss": self.objective.name,
            "optimizer": to_json(self.optimizer),
            "row_weights": None if self.row_weights is None else digest(self.row_weights),
            "settings": self.settings.to_json(),
            "command": list(self.command),
        }

    def run(
        self,
        run_dir: str | os.PathLike[str] | None,
        resume: bool,
        watchers: tuple[Watcher, ...],
        progress: bool | None,
    ) -> Run:
        """Trains, and tells the watchers. Raises what `train` raises."""
        is_watched = bool(watchers)
        if resume and run_dir is None:
            raise UsageError("resume needs the run_dir to go on with")
        directory = None if run_dir is None else RunDirectory(run_dir)
        memory = MemoryRecord()
        with ExitStack() as stack:
            stack.enter_context(one_blas_thread())
            loop = self._loop(directory, stack)
            loop.check()
            config = self.config(saved=directory is not None)
            if directory is not None:
                watchers = (self._open(directory, loop, config, resume, stack), *watchers)
                if loop.standing.ended:
                    return self._ended_before(directory, config, loop)
            if _on_a_terminal() if progress is None else progress:
                watchers = (*watchers, stack.enter_context(Console()))
            loop.tell(fan_out([memory, *watchers]), prompt=is_watched)
            loop.emit(self._started(loop, directory, config))
            reason = loop.run()
            net = self._close(loop, directory, reason)
            failure = loop.failure
        record = memory.record if directory is None else read_record(directory.record)
        path = None if directory is None else directory.path
        run = Run(net, record, config, path, self.prepared.encoder)
        if directory is not None:
            run.report()
        if reason == "not finite":
            raise _non_finite(run)
        if failure is not None:
            raise _not_converged(run, failure)
        if reason == "interrupted":
            self._say(_how_to_go_on(run))
        return run

    def _loop(self, directory: RunDirectory | None, stack: ExitStack) -> Loop:
        checkpoints = None if directory is None else directory.checkpoints()

        def save(carry: Carry, standing: Standing, best: Best | None) -> str | None:
            if checkpoints is None:
                return None
            info = {"standing": standing.to_json()}
            return str(checkpoints.save(standing.step, pack(self.layout, carry, best), info))

        return Loop(
            self.settings,
            self.prepared.dataset,
            self.prepared.train_rows,
            self.prepared.held_out_rows,
            self.objective,
            self.optimizer,
            self.layout,
            list(self.carry),
            self.row_weights,
            self.prepared.scale,
            lambda event: None,
            save,
            stack.enter_context(stop_on_signals()),
        )

    def _open(
        self,
        directory: RunDirectory,
        loop: Loop,
        config: dict[str, Any],
        resume: bool,
        stack: ExitStack,
    ) -> RecordWriter:
        """Begins a run directory, or puts the loop where the run in it was stopped; returns the
        writer of its record."""
        if resume:
            saved = directory.read_config()
            check_same(saved, config)
            self._say_other_backend(saved["settings"].get("backend"))
            directory.sweep()
            self._go_on(directory, loop)
            return stack.enter_context(RecordWriter(directory.record))
        directory.check_free()
        # The configuration comes last: what has one can be resumed.
        loop.save(loop.carry, loop.standing, None)
        writer = stack.enter_context(RecordWriter(directory.record))
        directory.sweep()
        directory.create(config)
        return writer

    def _go_on(self, directory: RunDirectory, loop: Loop) -> None:
        found = directory.checkpoints().load_latest()
        if found.note:
            _note(found.note)
        loop.resume(*unpack(self.layout, self.carry, found.arrays, found.info))
        standing = loop.standing
        if standing.ended == "finished" and standing.epoch < self.settings.epochs:
            standing.ended = ""  # more epochs were asked for

    def _started(
        self, loop: Loop, directory: RunDirectory | None, config: dict[str, Any]
    ) -> RunStarted:
        prepared, settings = self.prepared, self.settings
        count = len(prepared.train_rows)
        return RunStarted(
            dataset=prepared.dataset.name,
            task=prepared.dataset.task,
            net=str(self.net),
            weights=nn.count(self.net),
            train_rows=count,
            held_out_rows=len(prepared.held_out_rows),
            epochs=settings.epochs,
            steps_per_epoch=settings.steps_per_epoch(count),
            batch_size=settings.rows_per_step(count),
            seed=settings.seed,
            backend=backend_for(settings.backend),
            run_dir=None if directory is None else str(directory.path),
            first_step=loop.standing.step,
            config={k: v for k, v in config.items() if k not in ("encoder", "net", "dataset")},
        )

    def _final_network(self, loop: Loop, reason: str) -> Any:
        keeps_best = self.settings.patience is not None and reason != "interrupted"
        return loop.best_network() if keeps_best else loop.network()

    def _close(self, loop: Loop, directory: RunDirectory | None, reason: str) -> Any:
        """The closing evaluation, the network on disk, and the last event; returns the network."""
        net = self._final_network(loop, reason)
        try:
            closing = self._evaluated(loop, net)
        except ConvergenceError as error:  # then nothing is known of these rows
            closing = Evaluated("held-out" if len(loop.held_out_rows) else "training", {})
            loop.failure, reason = loop.failure or error, "not converged"
        if directory is not None:
            nn.save(directory.network, net)
        standing = loop.standing
        loop.emit(closing)
        loop.emit(
            RunEnded(
                reason,
                standing.step,
                standing.epoch,
                standing.best_epoch,
                standing.seconds,
                closing.metrics,
            )
        )
        return net

    def _evaluated(self, loop: Loop, net: Any) -> Evaluated:
        dataset, scale, judged = self.prepared.dataset, self.prepared.scale, loop.judged(net)
        rows = loop.evaluated_rows[judged.places]
        found = evaluated(
            "held-out" if len(loop.held_out_rows) else "training",
            self.objective,
            judged,
            dataset.y[rows],
            dataset.classes,
            scale,
        )
        encoder = self.prepared.encoder
        shown = examples(dataset, encoder, scale, self.objective, rows, judged.outputs)
        return replace(
            found,
            examples=shown,
            filters=first_filters(net, dataset),
            attention=attention(net, dataset, encoder, int(rows[0])) if len(rows) else (),
            sample=sample(net, encoder, self.objective, self.settings.backend),
        )

    def _ended_before(self, directory: RunDirectory, config: dict[str, Any], loop: Loop) -> Run:
        """The run in a directory where nothing is left to do; raises again what it ended in."""
        reason = loop.standing.ended
        record = read_record(directory.record)
        if record.ended is None:  # killed between its last checkpoint and its last event
            with RecordWriter(directory.record) as writer:
                loop.emit = writer
                self._close(loop, directory, reason)
            record = read_record(directory.record)
        net = self._final_network(loop, reason)
        run = Run(net, record, config, directory.path, self.prepared.encoder)
        run.report()
        if reason == "not finite":
            raise _non_finite(run)
        if run.reason == "not converged":
            raise _not_converged(run, loop.failure)
        epochs = loop.standing.epoch
        self._say(
            f"the run in {directory.path} had ended ({reason}, epoch {epochs}): nothing to do"
        )
        return run

    def _say_other_backend(self, before: str | None) -> None:
        now = self.settings.backend
        if before not in (None, now):
            _note(
                f"the run was started on the {before} backend: on the {now} one it goes on, "
                "but not in the same bits"
            )

    def _say(self, text: str) -> None:
        """What a person in Python should know; the command line has its own words."""
        if not self.command:
            _note(text)


def _note(text: str) -> None:
    print(f"chainrule: {text}", file=sys.stderr)


def _on_a_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _non_finite(run: Run) -> NonFiniteError:
    seen = run.record.non_finite
    if seen is None:  # the disk was full when it should have been recorded
        return NonFiniteError("training stopped: the loss or a weight was not finite")
    kept = f" and saved in {run.run_dir}" if run.run_dir else ", as .run.net of this error"
    last = f"the last finite loss was {seen.last_loss:.6g}"
    error = NonFiniteError(
        f"training stopped at step {seen.step}: {seen.where} is not finite "
        f"({'there was no finite loss before' if np.isnan(seen.last_loss) else last})",
        where=f"epoch {seen.epoch + 1}, step {seen.step}",
        do="lower the learning rate, or clip gradients with optim.clip_by_global_norm(1.0); the "
        f"last good weights are kept{kept}",
    )
    error.run = run
    return error


def _not_converged(run: Run, failure: ConvergenceError | None) -> ConvergenceError:
    """The error with the run so far; `failure` is None where that was in an earlier session."""
    ended, kept = (
        run.record.ended,
        f" and saved in {run.run_dir}" if run.run_dir else ", as .run.net",
    )
    what = "a fixed point was not reached" if failure is None else failure.what
    do = "lower the learning rate" if failure is None else failure.do
    error = ConvergenceError(
        f"training stopped at step {ended.step if ended else 0}: {what}",
        where=None if failure is None else failure.where,
        do=f"{do}; the last good weights are kept{kept}",
    )
    error.run = run
    return error


def _how_to_go_on(run: Run) -> str:
    if run.run_dir is None:
        return "interrupted; the weights so far are in the run that is returned"
    return (
        f"interrupted; everything so far is saved in {run.run_dir}\n"
        "  do:    go on with the same call and resume=True"
    )
