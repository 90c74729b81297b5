"""One self-contained HTML page about a training run.

Receives: the record of a run (`observe`). Returns: an HTML text that needs no network, no script
and no other file. Next: the run directory, and the reader's browser.

`render` puts the page together from sections, one module each: `result`, `ending`, `curves`,
`outcome`, `layers`, `settings`. They draw with `charts`, `heat` and `matrix`, which are made
of `svg`, `scales` and `buckets`; `page` holds the shell and `templates/` its HTML and CSS.
"""

from __future__ import annotations

from chainrule.report.render import render_report, write_report

__all__ = ["render_report", "write_report"]
