"""`chainrule report`: the page about a run."""

from __future__ import annotations

from chainrule.cli.parser import Arguments
from chainrule.cli.places import check_output
from chainrule.cli.speaking import json_text, say, shown_path, tell
from chainrule.observe import read_record
from chainrule.observe.profile import read_profile
from chainrule.report import write_report
from chainrule.training.rundir import RunDirectory


def run_report(arguments: Arguments) -> int:
    """Writes the page from the run's record, and says where it is."""
    if arguments.output is not None:
        check_output(arguments.output)
    directory = RunDirectory(arguments.run)
    directory.read_config()  # says clearly when this is no run
    path = arguments.output or str(directory.report)
    write_report(read_record(directory.record), path, read_profile(directory.profile))
    line = f"report  {shown_path(path)}"
    if arguments.json:
        say(line)
        tell(json_text({"run_dir": str(directory.path), "report": path}))
    else:
        tell(line)
    return 0
