"""Series that come with the package: `KnownSeries`, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from chainrule.data.dataset import JSON
from chainrule.data.series import Forecast
from chainrule.data.source import Parts, Source
from chainrule.data.tables import read_table
from chainrule.errors import unknown

SERIES: dict[str, str] = {
    "sunspots": "yearly number of sunspots, 1700 to 2008, the next from 12 (Wolf; SIDC, Royal "
    "Observatory of Belgium)",
}
# Trained on are the years to 1920, and a window is twelve: Weigend, Huberman and Rumelhart,
# "Predicting the future: a connectionist approach", International Journal of Neural Systems, 1990.
_SUNSPOT_WINDOW = 12
_SUNSPOT_HELD_OUT = 2008 - 1920


@dataclass(frozen=True)
class KnownSeries(Source):
    """A series that has a name: one of `SERIES`. Raises UsageError for another one."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in SERIES:
            raise unknown("series", self.name, SERIES)

    def parts(self, validation: float | None, seed: int) -> Parts:
        """Windows and the value after each as from `Forecast`; the years that are held out in the
        literature are, unless `validation` says otherwise. Raises UsageError without polars."""
        path = Path(__file__).parent / "files" / f"{self.name}.csv"
        table = replace(read_table(path), name=self.name)
        forecast = Forecast(table, self.name, 1, _SUNSPOT_WINDOW, (self.name,))
        share = _SUNSPOT_HELD_OUT if validation is None else validation
        parts = forecast.parts(share, seed)
        source: dict[str, JSON] = {
            **{k: parts.dataset.source[k] for k in ("column", "horizon", "window", "test_rows")},
            "kind": "builtin",
            "name": self.name,
            "about": SERIES[self.name],
        }
        return parts._replace(dataset=replace(parts.dataset, source=source))
