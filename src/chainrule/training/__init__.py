"""Training: from a network and data to a finished run.

Receives: a network, data, a loss, an optimiser. Returns: a `Run` (network, record, metrics), and
events on the way. Next: `report` draws the record, `predict` uses the network.
"""

from chainrule.training.result import Run, load_run
from chainrule.training.start import train

__all__ = ["Run", "load_run", "train"]
