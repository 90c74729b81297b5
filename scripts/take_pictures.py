"""Takes the pictures of docs/pictures anew: a real run in a terminal, and its report.

    .venv/bin/python scripts/take_pictures.py

It trains on digits in a temporary directory, with a terminal of its own, and needs `chromium` on
the PATH to look at the report. Times in the pictures are those of the machine it ran on.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
WORDS = ["train", "digits"]
COLUMNS = 90
BAR_AT = 0.6  # the share of the run at which the line of progress is kept
REPORT_SIZE = (1100, 1165)  # the result and the first two curves

# Without web fonts: the picture is one file, and any monospaced font will do.
SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
<rect width="{width}" height="{height}" fill="#fdfdfa" rx="8" />
<g transform="translate(16, 24)" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        output = in_terminal([str(Path(sys.executable).parent / "chainrule"), *WORDS], folder)
        draw_terminal(screen(output), PICTURES / "terminal.svg")
        report = next(Path(folder).glob("runs/*/report.html"))
        photograph(report, PICTURES / "report.png")


def in_terminal(command: list[str], folder: str) -> str:
    """What the command writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "CHAINRULE_COMMAND": "./run"}
    running = subprocess.Popen(
        command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            more = os.read(ours, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        if not more:
            break
        written += more
    if running.wait() != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{written.decode()}")
    return written.decode()


def screen(output: str) -> str:
    """The lines at the end, with the line of progress as it was some way into the run."""
    shown = [f"$ ./run {' '.join(WORDS)}"]
    for line in output.replace("\r\n", "\n").split("\n"):
        states = [state for state in line.split("\r\x1b[2K") if state]
        bars = {share(state): state for state in states if share(state) is not None}
        if bars:
            shown.append(min(bars.items(), key=lambda bar: abs((bar[0] or 0) - BAR_AT))[1])
        elif states or not line:
            shown.append("".join(states[-1:]))
    return "\n".join(shown).rstrip()


def share(state: str) -> float | None:
    found = re.match(r"epoch +(\d+)/(\d+)", state)
    return int(found[1]) / int(found[2]) if found else None


def draw_terminal(text: str, path: Path) -> None:
    from rich.console import Console
    from rich.terminal_theme import TerminalTheme
    from rich.text import Text

    red, green, yellow = (160, 30, 30), (30, 110, 50), (140, 90, 0)
    blue, magenta, cyan = (0, 90, 160), (120, 50, 130), (0, 105, 115)
    paper, ink, grey = (253, 253, 250), (40, 40, 38), (110, 110, 105)
    theme = TerminalTheme(paper, ink, [ink, red, green, yellow, blue, magenta, cyan, grey])
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(text))
    svg = console.export_svg(code_format=SVG, theme=theme, unique_id="terminal")
    path.write_text(svg, encoding="utf-8")


def photograph(page: Path, path: Path) -> None:
    """The top of a page in a light Chromium window."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise SystemExit("chromium is needed to take a picture of the report")
    width, height = REPORT_SIZE
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += [f"--window-size={width},{height}", f"--screenshot={path}"]
    subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    main()
