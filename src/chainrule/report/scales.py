"""Where a value lies on an axis, which values get a tick, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

# Values beyond these are drawn at the edge: no picture of a training run needs them, and spans,
# paddings and powers of ten stay finite this side of them.
LARGEST = 1e300
SMALLEST = 1e-300

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MINUS = "−"
MISSING = "–"
SPACE = "\u00a0"  # between a number and its unit, where no line may break


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic map from [low, high] to drawing units [start, stop].

    `low < high`, both finite, and both positive where `log` is true.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of `value`; values outside [low, high] go to the nearer end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log10(self.low), math.log10(self.high), math.log10(value)
        else:
            low, high = self.low, self.high
        return self.start + (self.stop - self.start) * ((value - low) / (high - low))

    def shows(self, value: float) -> bool:
        """Whether `value` can be drawn at all: finite, and positive on a log axis."""
        return math.isfinite(value) and (value > 0 or not self.log)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values inside [low, high], in rising order; about `count` of them."""
        if self.log:
            return log_ticks(self.low, self.high, count)
        return linear_ticks(self.low, self.high, count)


def drawable(values: Iterable[float], *, log: bool = False) -> list[float]:
    """The finite values (positive ones for a log axis), held within the range that is drawn."""
    kept = [min(max(float(v), -LARGEST), LARGEST) for v in values if math.isfinite(v)]
    return [max(v, SMALLEST) for v in kept if v > 0] if log else kept


def scale_for(
    values: Iterable[float], start: float, stop: float, *, log: bool = False, pad: float = 0.05
) -> Scale:
    """A scale that covers `values` with a margin of `pad` of the span on either side.

    Values that cannot be drawn are left out; a constant series gets room around it, and no values
    at all give [0, 1] (or [0.1, 1] on a log axis).
    """
    kept = drawable(values, log=log)
    if log:
        low, high = (min(kept), max(kept)) if kept else (0.1, 1.0)
        if high / low < 1.01:
            low, high = low / 2, high * 2
        margin = (high / low) ** pad if high / low < LARGEST else 1.0
        return Scale(max(low / margin, SMALLEST), min(high * margin, LARGEST), start, stop, True)
    low, high = (min(kept), max(kept)) if kept else (0.0, 1.0)
    # A span below the last digits of the numbers themselves is a constant with noise on it.
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = 0.5 * max(abs(low), abs(high)) or 0.5
        low, high = low - room, high + room
    else:
        margin = pad * (high - low)
        low, high = low - margin, high + margin
    if high - low < SMALLEST:  # no step between two ticks is smaller
        low, high = low - SMALLEST, high + SMALLEST
    return Scale(low, high, start, stop)


def linear_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten inside [low, high]; at most `count` + 2."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low] if math.isfinite(low) else []
    step = _nice_step(span / max(count, 1))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = [index * step for index in range(first, last + 1)]
    return sorted({min(max(tick, low), high) for tick in ticks})


def _nice_step(rough: float) -> float:
    power = math.floor(math.log10(rough))
    base = 10.0**power if power > -300 else SMALLEST
    for factor in (1, 2, 5, 10):
        if factor * base >= rough * (1 - 1e-9):
            return factor * base
    return 10 * base


def whole_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Ticks for something that is counted (epochs, steps): whole numbers only."""
    step = max(1.0, _nice_step(max(high - low, 1.0) / max(count, 1)))
    first, last = math.ceil(low / step), math.floor(high / step)
    ticks = [index * step for index in range(first, last + 1)]
    if low <= 1 and (not ticks or ticks[0] > 1) and high < LARGEST:
        ticks = [1.0, *ticks]  # the first epoch, where the axis begins with it
    return ticks or [float(math.ceil(low))]


def log_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Powers of ten inside [low, high]; with 2 and 5 between them, or linear, where few fit."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    every = max(1, math.ceil((last - first + 1) / (count + 1)))
    decades = [10.0**power for power in range(first, last + 1) if power % every == 0]
    if last - first >= 2:
        return [min(max(tick, low), high) for tick in decades]
    finer = [
        factor * 10.0**power for power in range(first - 1, last + 1) for factor in (1.0, 2.0, 5.0)
    ]
    kept = [tick for tick in finer if low <= tick <= high]
    linear = linear_ticks(low, high, max(3, count - 1))
    if len(linear) < 2:
        linear = linear_ticks(low, high, 5)  # five steps or fewer leave two ticks at least
    return kept if len(kept) >= min(3, len(linear) + 1) else linear


def number(value: float, digits: int = 4) -> str:
    """`value` for people: `digits` significant digits, 1,234 with commas, 1.2×10⁻⁵ far from 1."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else f"{MINUS}∞")
    if value == 0:
        return "0"
    if float(value).is_integer() and abs(value) < 1e7:
        return f"{int(value):,}".replace("-", MINUS)
    if 1e-4 <= abs(value) < 1e7:
        places = digits - 1 - math.floor(math.log10(abs(value)))
        text = f"{round(value, places):,.{max(0, places)}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return text.replace("-", MINUS)
    mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
    return _times_power(mantissa, int(exponent))


def tick_labels(ticks: Iterable[float]) -> list[str]:
    """Short labels for a whole axis, written alike: decimals where they stay short, else powers."""
    ticks = list(ticks)
    sizes = [abs(tick) for tick in ticks if tick]
    if sizes and (min(sizes) < 9.9e-4 or max(sizes) >= max(1e6, 1e5 * min(sizes))):
        return [_power(tick) for tick in ticks]
    if sizes and max(sizes) >= 10_000 and all(size % 100 == 0 for size in sizes):
        return [f"{tick / 1000:g}k".replace("-", MINUS) if tick else "0" for tick in ticks]
    return [f"{tick:.6g}".replace("-", MINUS) for tick in ticks]


def _power(tick: float) -> str:
    if tick == 0:
        return "0"
    mantissa, exponent = f"{tick:.2e}".split("e")
    return _times_power(mantissa, int(exponent))


def _times_power(mantissa: str, exponent: int) -> str:
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    power = f"10{str(exponent).translate(_SUPERSCRIPTS)}"
    if mantissa in {"1", "-1"}:
        return power if mantissa == "1" else f"{MINUS}{power}"
    return f"{mantissa.replace('-', MINUS)}×{power}"


def percent(share: float, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage, such as 97.4 %; never rounded up to 100 or down to 0."""
    if not math.isfinite(share):
        return number(share)
    text = f"{100 * share:.{digits}f}"
    if float(text) in {0.0, 100.0}:
        text = text.split(".")[0]
        smallest = 10.0**-digits
        if 0 < share < 1 and text == "100":
            text = f">{100 - smallest:.{digits}f}"
        elif share > 0 and text == "0":
            text = f"<{smallest:g}"
    return f"{text}{SPACE}%"


def duration(seconds: float) -> str:
    """A length of time for people: 0.42 s, 12.3 s, 4 min 05 s, 2 h 13 min."""
    if not math.isfinite(seconds) or seconds < 0:
        return MISSING
    if seconds < 60:
        return f"{seconds:.2g}{SPACE}s" if seconds < 10 else f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest:02d}{SPACE}s"
    return f"{minutes // 60:,}{SPACE}h {minutes % 60:02d}{SPACE}min"
