"""Measures of how good predictions are, for each kind of task.

Classes are indices, scores are the network's raw outputs (logits). All are computed in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def probabilities(outputs: Array) -> Array:
    """Probabilities [..., classes] from logits: [rows] or [..., 1] for two classes, else
    [..., classes]."""
    logits = np.asarray(outputs, np.float64)
    if logits.ndim == 1 or logits.shape[-1] == 1:
        z = logits if logits.ndim == 1 else logits[..., 0]
        decay = np.exp(-np.abs(z))
        positive = np.where(z >= 0, 1.0, decay) / (1.0 + decay)
        negative = np.where(z >= 0, decay, 1.0) / (1.0 + decay)
        return np.stack([negative, positive], axis=-1)
    grown = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: Array = grown / grown.sum(axis=-1, keepdims=True)
    return result


def predicted_classes(outputs: Array) -> Array:
    """The most probable class of each row, or of each place of sequences [rows, time, ...]."""
    if outputs.ndim == 1 or outputs.shape[-1] == 1:
        z = outputs if outputs.ndim == 1 else outputs[..., 0]
        return (z > 0).astype(np.int64)
    found: Array = outputs.argmax(axis=-1)
    return found


def accuracy(truth: Array, predicted: Array) -> float:
    """The share of rows whose class is right."""
    return float(np.mean(truth == predicted))


def confusion(truth: Array, predicted: Array, classes: int) -> Array:
    """Counts [true class, predicted class]."""
    pairs = np.asarray(truth, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def f1(counts: Array) -> float:
    """F1 from a confusion matrix: of class 1 when there are two, else the mean over the classes
    that occur (macro F1)."""
    hits = np.diag(counts).astype(np.float64)
    both = counts.sum(axis=0) + counts.sum(axis=1)
    scores = np.where(both > 0, 2 * hits / np.maximum(both, 1), 0.0)
    if len(counts) == 2:
        return float(scores[1])
    return float(scores[both > 0].mean())


def log_loss(truth: Array, outputs: Array) -> float:
    """The mean of -log of the probability given to the true class, from logits."""
    logits = np.asarray(outputs, np.float64)
    if logits.ndim == 1 or logits.shape[1] == 1:
        z = np.where(truth == 1, 1.0, -1.0) * logits.reshape(-1)
        return float(np.mean(np.logaddexp(0.0, -z)))
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(truth)), truth]
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - chosen))


def _ranks(scores: Array) -> Array:
    """Ranks from 1; equal scores share the mean of theirs."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _auc(positive: Array, scores: Array) -> float:
    """The probability that a positive row scores above a negative one (Mann and Whitney 1947)."""
    hits, misses = int(positive.sum()), int((~positive).sum())
    if not hits or not misses:
        return math.nan
    above = _ranks(scores)[positive].sum() - hits * (hits + 1) / 2
    return float(above / (hits * misses))


def roc_auc(truth: Array, outputs: Array) -> float:
    """The area under the ROC curve; with several classes the mean of each against the rest, over
    those classes that have rows on both sides. NaN where no class does."""
    scores = np.asarray(outputs, np.float64)
    if scores.ndim == 1 or scores.shape[1] == 1:
        return _auc(truth == 1, scores.reshape(-1))
    given = probabilities(outputs)
    areas = [_auc(truth == k, given[:, k]) for k in range(given.shape[1])]
    known = [a for a in areas if not math.isnan(a)]
    return float(np.mean(known)) if known else math.nan


def regression(truth: Array, predicted: Array) -> dict[str, float]:
    """MAE, RMSE and R2; several outputs count alike. R2 is NaN for a constant truth."""
    exact = np.asarray(truth, np.float64)
    error = np.asarray(predicted, np.float64) - exact
    spread = np.sum((exact - exact.mean(axis=0)) ** 2, axis=0)
    # The mean of equal numbers may differ from them by a rounding: their spread is no measure.
    varies = exact.max(axis=0) > exact.min(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(varies, 1 - np.sum(error**2, axis=0) / spread, math.nan)
    return {
        "r2": float(np.mean(share)),
        "mae": float(np.mean(np.abs(error))),
        "rmse": float(np.sqrt(np.mean(error**2))),
    }


def classification(truth: Array, outputs: Array, classes: int) -> dict[str, float]:
    """Accuracy, F1, log-loss and ROC AUC from logits."""
    predicted = predicted_classes(outputs)
    return {
        "accuracy": accuracy(truth, predicted),
        "f1": f1(confusion(truth, predicted, classes)),
        "log_loss": log_loss(truth, outputs),
        "roc_auc": roc_auc(truth, outputs),
    }
