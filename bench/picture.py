"""The results as one SVG: how many times longer the peers take, and how time grows."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.processes import OURS, PEERS
from bench.tables import TITLES
from chainrule.report.scales import log_ticks, scale_for
from chainrule.report.svg import Frame, Svg, element, join, label_at, line, path
from chainrule.report.svg import picture as svg

WIDTH = 860.0
LEFT, RIGHT = 250.0, 24.0  # of the dots
ROW, HEAD = 22.0, 64.0  # of a case, and of what stands above the first
PANEL_WIDTH, PANEL_HEIGHT = 270.0, 210.0
PANELS = (  # of steps: title, and whether it is that of dense networks
    ("Time of a training step of dense networks, over chainrule's", True),
    ("The same of other architectures, with Adam", False),
)

# Colours that people who see no red or no green tell apart; one for each peer.
STYLE = """
svg { background: #fffefb; font: 11px system-ui, sans-serif; }
text { fill: #1c1c1a; } .tick, .name, .note { fill: #62615c; } .title { font-weight: 600; }
.heading { font-weight: 600; font-size: 14px; }
line, path { stroke: #dcdad2; stroke-width: 1; fill: none; } .axis { stroke: #62615c; }
.one { stroke: #1c1c1a; } .asked { stroke: #1c1c1a; stroke-width: 2; }
.series { stroke-width: 2; }
.ours { stroke: #1c1c1a; } circle.ours { fill: #1c1c1a; }
.torch_eager { stroke: #c8500a; } circle.torch_eager { fill: #c8500a; }
.torch_compiled { stroke: #e69f00; } circle.torch_compiled { fill: #e69f00; }
.torch_channels_last { stroke: #b0508f; } circle.torch_channels_last { fill: #b0508f; }
.jax_step { stroke: #56b4e9; } circle.jax_step { fill: #56b4e9; }
.jax_scan { stroke: #0068a8; } circle.jax_scan { fill: #0068a8; }
circle[class] { stroke: #fffefb; stroke-width: 0.8; }
@media (prefers-color-scheme: dark) {
  svg { background: #161716; } text { fill: #e7e5de; }
  .tick, .name, .note { fill: #a09e96; } line, path { stroke: #383833; }
  .axis { stroke: #a09e96; } .one, .asked { stroke: #e7e5de; }
  .ours { stroke: #e7e5de; } circle.ours { fill: #e7e5de; }
  .torch_eager { stroke: #f28a4a; } .torch_compiled { stroke: #e69f00; }
  .jax_step { stroke: #56b4e9; } .jax_scan { stroke: #4a9fdc; }
  circle.torch_eager { fill: #f28a4a; } circle.jax_scan { fill: #4a9fdc; }
  circle.torch_channels_last { fill: #d983bb; } circle[class] { stroke: #161716; }
}
"""


def draw(results: dict) -> str:
    """The picture, as the text of a file."""
    parts, height = [], 0.0
    for title, dense in PANELS:
        rows = [row for row in results.get("steps", []) if row["dense"] == dense]
        rows = [row for row in rows if "over_best" in row]
        if rows:
            dots, height = _dots(rows, title, height)
            parts.append(dots)
    height = height or 16.0
    if "growth" in results:
        panels, height = _panels(results["growth"], height)
        parts.append(panels)
    machine = results["machine"]
    told = f"{results['date']}, {machine['processor']}, {machine['threads']} threads"
    parts.append(label_at(12, height + 12, told, "note"))
    # The style is ours, with nothing of anybody's in it to escape.
    drawn = svg(WIDTH, height + 24, "chainrule's training steps beside those of its peers", *parts)
    opened = drawn.index(">") + 1
    head = drawn[:opened].replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return f"{head}<style>{STYLE}</style>{drawn[opened:]}\n"


def _dots(rows: Sequence[dict], title: str, above: float) -> tuple[Svg, float]:
    """A line for each case, with a dot for each peer: its time over ours. Returns also where it
    ends."""
    ratios = [
        {
            n: statistics.median(
                peer / our
                for peer, our in zip(row["seconds"][n], row["seconds"][OURS], strict=True)
            )
            for n in PEERS
            if n in row["seconds"]
        }
        for row in rows
    ]
    top = above + HEAD
    bottom = top + ROW * len(rows)
    values = [1.0, *(v for row in ratios for v in row.values())]
    x = scale_for(values, LEFT, WIDTH - RIGHT, log=True, pad=0.03)
    parts = [label_at(12, above + 22, title, "heading")]
    place = LEFT
    for name in [OURS, *(n for n in PEERS if any(n in row for row in ratios))]:
        parts += [_dot(place, top - 20, name), label_at(place + 9, top - 16, TITLES[name], "note")]
        place += 26 + 5.6 * len(TITLES[name])
    for tick in log_ticks(x.low, x.high, 8):
        parts.append(line(x(tick), top, x(tick), bottom, "grid"))
        parts.append(label_at(x(tick), bottom + 16, f"{tick:g} ×", "tick", "middle"))
    parts.append(line(x(1.0), top - 4, x(1.0), bottom, "one"))
    for number, (row, found) in enumerate(zip(rows, ratios, strict=True)):
        y = top + ROW * (number + 0.5)
        parts.append(label_at(LEFT - 14, y + 4, row["case"], "case", "end"))
        parts.append(line(x(min(found.values())), y, x(max(found.values())), y, "axis"))
        parts += [_dot(x(value), y, name) for name, value in found.items()]
    return join(parts), bottom + 30


def _dot(x: float, y: float, name: str, radius: float = 4.5) -> Svg:
    return element("circle", class_=name, cx=x, cy=y, r=radius)


def _panels(growth: dict, top: float) -> tuple[Svg, float]:
    """Seconds for a step, and for compiling, on log axes."""
    parts = [label_at(12, top + 22, "Growth", "heading")]
    names = {"width": "width of 3 layers, batch 64", "batch": "batch, 784-256-128-10"}
    names |= {"depth": "equal layers of 64", "kernels": "layers of different widths"}
    drawn: list[tuple[str, str, Sequence[float], dict[str, Sequence[float]]]] = []
    for what, row in growth.items():
        if len(row["sizes"]) > 1:
            drawn.append(("a step", names[what], row["sizes"], row["seconds"]))
    compiled = [(names[w], r) for w, r in growth.items() if "compile" in r]
    drawn += [("compiling", n, r["sizes"], {OURS: r["compile"]}) for n, r in compiled]
    for number, (title, x_name, sizes, series) in enumerate(drawn):
        corner = 14 + (number % 3) * (PANEL_WIDTH + 12), top + 34 + (number // 3) * PANEL_HEIGHT
        panel = _panel(title, x_name, sizes, series)
        where = f"translate({corner[0]:.0f} {corner[1]:.0f})"
        parts.append(element("g", panel, transform=where))
    lines_of_panels = -(-len(drawn) // 3)
    return join(parts), top + 34 + lines_of_panels * PANEL_HEIGHT + 8


def _panel(
    title: str, x_name: str, sizes: Sequence[float], series: dict[str, Sequence[float]]
) -> Svg:
    x = scale_for(sizes, 46, PANEL_WIDTH - 14, log=True)
    values = [v for one in series.values() for v in one]
    y = scale_for(values, PANEL_HEIGHT - 48, 24, log=True)
    frame = Frame(PANEL_WIDTH, PANEL_HEIGHT, x, y)
    axes = frame.axes(log_ticks(x.low, x.high), x_name, log_ticks(y.low, y.high, 6))
    parts = [axes, label_at(46, 14, f"{title}, seconds", "title")]
    for name, found in series.items():
        points = [(x(size), y(value)) for size, value in zip(sizes, found, strict=True)]
        parts.append(element("path", class_=f"series {name}", d=path(points)))
        parts += [_dot(px, py, name, 3) for px, py in points]
    return join(parts)
