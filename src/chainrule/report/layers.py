"""Sizes inside the network over time: gradients, updates, activations and deltas, by layer.

Up to `LINES` layers are drawn as lines; more are drawn as a heat map with the first layer on top,
and more than `MAP_ROWS` are first put together in neighbouring groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.observe.wording import count
from chainrule.report.buckets import edges, means
from chainrule.report.charts import Guide, Series, line_chart
from chainrule.report.heat import heat_map
from chainrule.report.page import Figure, LegendEntry
from chainrule.report.scales import number
from chainrule.report.sizes import (
    RATIO_LIMITS,
    USUAL_RATIO,
    Quantity,
    Sizes,
    by_kind,
    collect,
    grouped,
    numbers,
    remarks,
)

if TYPE_CHECKING:
    from chainrule.observe.events import StepMeasured
    from chainrule.observe.record import Record

LINES = 12
MAP_ROWS = 100
MAP_COLUMNS = 60
DEPTH_INKS = 12  # page.css names them d0 ... d11

WEIGHTS = (
    Quantity("gradient_rms", "Gradient size", "Root mean square of each weight's gradient"),
    Quantity("update_rms", "Update size", "Root mean square of what a step adds to each weight"),
    Quantity(
        "update_ratio",
        "Update over weight",
        "An update as a share of its weight; the band is usual",
        guide=USUAL_RATIO,
        limits=RATIO_LIMITS,
        zero="There is no ratio while a weight is still 0, or its update is",
    ),
)
LAYERS = (
    Quantity("activation_rms", "Activation size", "Root mean square of each layer's output"),
    Quantity("delta_rms", "Delta size", "Root mean square of the error sent back to each layer"),
    Quantity(
        "zero_fraction", "Zero activations", "Share of each layer's outputs that are 0", False
    ),
)
NORM = Quantity("gradient_norm", "Gradient norm", "Length of the gradient of all weights together")


@dataclass(frozen=True)
class Group:
    """Figures that share one legend (empty where no figure draws lines)."""

    legend: Sequence[LegendEntry]
    figures: Sequence[Figure]


@dataclass(frozen=True)
class Layers:
    """The section on the inside of the network."""

    about: str
    groups: Sequence[Group]


def layers(record: Record) -> Layers | None:
    """The section's figures, or None where the run measured nothing."""
    measures = record.measures
    if not measures:
        return None
    groups = [
        _group("weight", [m.weights for m in measures], _steps(measures), WEIGHTS),
        _group("layer", [_by_name(m.layers) for m in measures], _steps(measures), LAYERS),
    ]
    first, last = measures[0].step, measures[-1].step
    when = f"from {first:,} to {last:,}" if first != last else f"{first:,}"
    about = f"Measured at {count(len(measures), 'step')}, {when}. Sizes are on log scales."
    kept = [group for group in groups if group.figures]
    return Layers(about, kept) if kept else None


def _by_name(sizes: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """The layers' sizes without those of the whole net, whose path is empty and whose output is
    the last layer's; where there is nothing else, under a name."""
    named = {name: one for name, one in sizes.items() if name}
    return named or {name or "the net": one for name, one in sizes.items()}


def gradient_norm(record: Record) -> list[Figure]:
    """The length of the whole gradient over steps, where it was measured."""
    measures = record.measures
    if not measures:
        return []
    values = np.array([[m.gradient_norm for m in measures]], np.float64)
    sizes = Sizes(NORM, ("gradient norm",), _steps(measures), values)
    return [_lines("gradient-norm", sizes, {"gradient norm": "train"})]


def _steps(measures: Sequence[StepMeasured]) -> tuple[float, ...]:
    return tuple(float(measure.step) for measure in measures)


def _group(
    kind: str,
    found: Sequence[Mapping[str, Mapping[str, float]]],
    steps: Sequence[float],
    quantities: Sequence[Quantity],
) -> Group:
    every = [collect(found, steps, quantity) for quantity in quantities]
    # Without a layer that has any zero there is nothing to see of them.
    drawn = [sizes for sizes in every if sizes.quantity.log or sizes.values.any()]
    drawn = [sizes for sizes in drawn if sizes.names]
    names = list(dict.fromkeys(name for sizes in drawn for name in sizes.names))
    keys = [f"{kind}-{sizes.quantity.measure.replace('_', '-')}" for sizes in drawn]
    if len(names) > LINES:
        return Group((), [_map(key, sizes, kind) for key, sizes in zip(keys, drawn, strict=True)])
    inks = depth_inks(names)
    legend = [LegendEntry(name, ink) for name, ink in inks.items()]
    return Group(legend, [_lines(key, one, inks) for key, one in zip(keys, drawn, strict=True)])


def depth_inks(names: Sequence[str]) -> dict[str, str]:
    """An ink for each name: a colour by depth, and dashes where a layer has several weights."""
    owners = list(dict.fromkeys(_owner(name) for name in names))
    met = dict.fromkeys(owners, 0)
    inks = {}
    for name in names:
        owner = _owner(name)
        shade = round(owners.index(owner) * (DEPTH_INKS - 1) / max(1, len(owners) - 1))
        dash = ("", " dash", " dotted")[min(2, met[owner])]
        met[owner] += 1
        inks[name] = f"d{shade}{dash}"
    return inks


def _owner(name: str) -> str:
    """The layer of a weight ("layers.0" of "layers.0.weight"); a layer's path is its own."""
    head, _, last = name.rpartition(".")
    return name if not head or last.isdigit() else head


def _lines(key: str, sizes: Sizes, inks: Mapping[str, str]) -> Figure:
    quantity = sizes.quantity
    series = [
        Series(name, sizes.steps, row.tolist(), inks[name])
        for name, row in zip(sizes.names, sizes.values, strict=True)
    ]
    picture = line_chart(
        series,
        label=f"{quantity.title} over steps, {count(len(series), 'line')}",
        x_name="step",
        log=quantity.log,
        guide=Guide(*quantity.guide, "usual range") if quantity.guide else None,
        limits=sizes.limits(),
        named=False,
    )
    about = f"{quantity.about}."
    return Figure(key, quantity.title, about, picture, numbers(sizes), remarks(sizes))


def _map(key: str, sizes: Sizes, kind: str) -> Figure:
    quantity = sizes.quantity
    rows = grouped(by_kind(sizes), MAP_ROWS)
    ranges = edges(len(rows.steps), MAP_COLUMNS)
    cells = means(rows.values, ranges, log=quantity.log)
    limits = sizes.limits()
    if limits:
        cells = np.where(np.isfinite(cells) & (cells > 0), np.clip(cells, *limits), cells)
    picture = heat_map(
        rows.names,
        [*(rows.steps[start] for start, _ in ranges[:-1]), rows.steps[-1]],
        cells,
        label=f"{quantity.title} over steps, a heat map of {count(len(rows.names), 'row')}",
        x_name="step",
        titles=[_title(rows, row) for row in range(len(rows.names))],
        log=quantity.log,
        guide=quantity.guide,
    )
    about = f"{quantity.about.replace('the band', 'grey-green')}; first {kind} on top."
    about += _means_what(sizes, rows, max(stop - start for start, stop in ranges))
    return Figure(key, quantity.title, about, picture, numbers(sizes), remarks(sizes))


def _title(rows: Sizes, row: int) -> str:
    first, low, high, last = (number(value) for value in rows.ends(row))
    return f"{rows.names[row]}: first {first}, lowest {low}, highest {high}, last {last}"


def _means_what(sizes: Sizes, rows: Sizes, widest: int) -> str:
    """What one cell of a heat map stands for, where it is more than one number."""
    parts = []
    if widest > 1:
        parts.append(f"up to {widest} measured steps")
    if len(rows.names) < len(sizes.names):
        parts.append(f"up to {-(-len(sizes.names) // len(rows.names))} neighbours")
    mean = "geometric mean" if sizes.quantity.log else "mean"
    return f" A cell is the {mean} of {' and '.join(parts)}." if parts else ""
