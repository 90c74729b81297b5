"""A finished (or stopped) run: its network, what it was worth, and how it went."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.config import check_threads
from chainrule.data import Encoder, Rows, encoder_from_json, open_rows
from chainrule.data.dataset import numbers
from chainrule.errors import FileError, ShapeError, UsageError
from chainrule.observe import Record, read_record
from chainrule.observe.profile import Profile, read_profile
from chainrule.reference import one_blas_thread
from chainrule.training import metrics
from chainrule.training.evaluate import Predictor
from chainrule.training.objective import readable
from chainrule.training.rundir import RunDirectory


@dataclass(frozen=True, eq=False)
class Run:
    """What `cr.train` returns and `cr.load_run` reads back.

    `net` is the network to use: of the best epoch where the run stopped early or had a `patience`,
    else of the last step. `metrics` are on the held-out rows (on the training rows where none were
    held out). `reason` says why it ended: "finished", "early stopping", "interrupted", "not
    finite", or "not converged" (a fixed point was not reached); of a full-batch method also
    "converged", or "stuck" where no step helped any more.
    """

    net: Any
    record: Record
    config: Mapping[str, Any]
    run_dir: Path | None
    encoder: Encoder | None
    _predictors: dict[int | None, Predictor] = field(default_factory=dict, repr=False)

    @property
    def history(self) -> dict[str, list[float]]:
        """The course of the run: lists with one entry an epoch, such as "loss", "accuracy",
        "held_out_loss" and "held_out_accuracy"."""
        return self.record.history()

    @property
    def metrics(self) -> dict[str, float]:
        found = self.record.evaluated
        return dict(found.metrics) if found else {}

    @property
    def reason(self) -> str:
        return self.record.ended.reason if self.record.ended else "not ended"

    @property
    def task(self) -> str:
        return str(self.config["dataset"]["task"])

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.config["dataset"]["classes"])

    def summary(self) -> dict[str, Any]:
        """The run in JSON values, as `chainrule train --json` prints it."""
        ended, started = self.record.ended, self.record.started
        return {
            "dataset": self.config["dataset"]["name"],
            "task": self.task,
            "metrics": self.metrics,
            "metrics_of": self.record.evaluated.rows if self.record.evaluated else None,
            "epochs": ended.epoch if ended else 0,
            "steps": ended.step if ended else 0,
            "best_epoch": ended.best_epoch if ended else -1,
            "seconds": ended.seconds if ended else 0.0,
            "reason": self.reason,
            "backend": started.backend if started else None,
            "seed": self.config["settings"]["seed"],
            "run_dir": str(self.run_dir) if self.run_dir else None,
        }

    def report(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Writes the run's report, one self-contained HTML page, and returns its path.

        Without `path` it goes into the run directory. Raises FileError where it cannot be written.
        """
        from chainrule.report import write_report

        directory = None if self.run_dir is None else RunDirectory(self.run_dir)
        if path is None:
            if directory is None:
                raise UsageError("this run has no directory", do="give report() a path")
            path = directory.report
        profile = None if directory is None else read_profile(directory.profile)
        return write_report(self.record, Path(path), profile)

    def profile(self, data: Any, *, seconds: float = 0.5, threads: int | None = None) -> Profile:
        """Times the run's training step kernel by kernel, on a copy of its weights, for about so
        many seconds; the run directory keeps what was found, for the report.

        `data` are what it was trained on; `threads` is the most that may be used (None: as it was
        trained). Raises UsageError for a run without a directory or whose steps are no single
        program, DataError for other data, ChainruleError where kernels cannot be timed.
        """
        from chainrule.training.profiling import prepared_again, profile

        if self.run_dir is None:
            raise UsageError("this run has no directory", do="train with run_dir=...")
        check_threads(threads)
        prepared = prepared_again(data, self.config, self.net)
        return profile(RunDirectory(self.run_dir), self.net, prepared, seconds, threads)

    def outputs(
        self, data: Any, notes: list[str] | None = None, *, threads: int | None = None
    ) -> np.ndarray:
        """The network's outputs for rows, an array [rows, ...] or a table where it was trained on
        one: logits for classes, of each row or of each place [rows, time, ...], numbers for
        regression. `notes` receives what was remarkable about
        a table; `threads` is the most that may be used (None: one for each core)."""
        x = self.read(data, notes).x
        expected = tuple(self.config["dataset"]["row_shape"])
        if x.shape[1:] != expected:
            raise ShapeError(
                f"the rows have shape {x.shape[1:]}, and this network was trained on {expected}",
                do="give an array of shape (rows, " + ", ".join(map(str, expected)) + ")",
            )
        check_threads(threads)
        predictor = self._predictors.setdefault(threads, Predictor(self.net, None, threads))
        with one_blas_thread():
            found = predictor(self.net, x)
        if self.config["dataset"].get("time") and found.ndim == 2:  # a logit for each place
            found = found[..., np.newaxis]
        return np.asarray(readable(found, self.task, self.config["loss"]))

    def read(self, data: Any, notes: list[str] | None = None, unreadable: str = "fatal") -> Rows:
        """Rows for the network from an array, the path of a .npy file, or from what it was trained
        on the like of: a table, a path, a folder. `notes` and `unreadable` are those of
        `Encoder.read`."""
        if isinstance(data, Rows):
            return data
        if isinstance(data, str | os.PathLike) and os.fspath(data).endswith(".npy"):
            data = open_rows(data)
        if self.encoder is not None:
            return self.encoder.read(data, [] if notes is None else notes, unreadable)
        x = np.asarray(data)
        x = x[:, None] if x.ndim == 1 else x
        is_symbols = self.config["dataset"].get("symbols") and x.dtype.kind in "iu"
        return Rows(x if is_symbols else numbers(x, "X"))

    def predict(self, data: Any) -> np.ndarray:
        """The predicted class names, or the predicted numbers in the data's own units: [rows], or
        [rows, outputs] where there are several; of classes at each place of a sequence,
        [rows, time]."""
        outputs = self.outputs(data)
        if self.encoder is not None:
            columns = self.encoder.decode(outputs)
            name = self.encoder.target.name
            return columns[name] if name in columns else np.stack([*columns.values()], axis=1)
        if self.task == "regression":
            return outputs.reshape(len(outputs)) if outputs.size == len(outputs) else outputs
        return np.array(self.classes)[metrics.predicted_classes(outputs)]

    def generate(
        self,
        prompt: str | None = None,
        *,
        length: int = 500,
        temperature: float = 0.8,
        top: int | None = None,
        seed: int = 0,
        threads: int | None = None,
    ) -> str:
        """What a language model writes after `prompt`: `length` symbols, characters or words.

        Without a prompt it begins as after a line break. `temperature` 0 takes the likeliest symbol
        each time, 1 draws as the network expects, `top` draws among so many likeliest ones; the
        same seed writes the same text. Symbols of the prompt that the network does not know are
        left out. Raises UsageError for a run that did not learn a text, a prompt in which there is
        nothing that the network knows, and settings out of range.
        """
        from chainrule.training.generation import Manner, beginning, text_encoder, written

        check_threads(threads)
        encoder = text_encoder(self.encoder, f"the run of {self.config['dataset']['name']}")
        manner = Manner(temperature, top, seed)
        begin = beginning(encoder.vocabulary, prompt)
        return "".join(written(self.net, encoder, begin, length, manner, threads))

    def predict_probabilities(self, data: Any) -> np.ndarray:
        """Probabilities [rows, classes], in the order of `classes`; of classes at each place of a
        sequence, [rows, time, classes]."""
        if self.task == "regression":
            raise UsageError("a regression network gives numbers, not probabilities")
        return metrics.probabilities(self.outputs(data))

    def __repr__(self) -> str:
        shown = ", ".join(f"{k} {v:.4g}" for k, v in self.metrics.items())
        return f"Run({self.config['dataset']['name']}: {shown}; {self.reason})"


def load_run(path: str | os.PathLike[str], *, layers: tuple[type, ...] = ()) -> Run:
    """Reads a run back from its directory; `layers` are your own layer classes, if it has any.

    No code is loaded from the files. Raises FileError where there is no run, DamagedFileError where
    its files are damaged.
    """
    directory = RunDirectory(path)
    config = directory.read_config()
    if not directory.network.exists():
        raise FileError(
            f"the run in {directory.path} has no network yet: it was stopped before its end",
            do=f"go on with it: chainrule train --resume {directory.path}; in Python: resume=True",
        )
    net = nn.load(directory.network, layers=layers)
    encoder = config.get("encoder")
    return Run(
        net,
        read_record(directory.record),
        config,
        directory.path,
        None if encoder is None else encoder_from_json(encoder),
    )
