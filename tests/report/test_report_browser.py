"""The page in a real browser: nothing refused, nothing wider than the screen."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from report_records import STORIES

from chainrule.report import render_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --enable-logging=stderr "
    "--hide-scrollbars"
).split()
WIDTHS = (360, 800, 1600)

# The pages stand in frames, whose width can be smaller than a window's; as `srcdoc` they share the
# wrapper's origin, so it can measure them while each keeps its own policy.
WRAPPER = """<!doctype html><meta charset="utf-8"><body>{frames}<pre id="measured"></pre><script>
const all = [...document.querySelectorAll("iframe")];
const measure = frame => {{
  const page = frame.contentDocument, view = frame.contentWindow;
  const charts = [...page.querySelectorAll("svg.chart")].map(s => s.getBoundingClientRect());
  const small = [...page.querySelectorAll("svg.chart:not(.fixed) text.tick")]
    .map(t => t.getBoundingClientRect().height);
  return {{width: page.documentElement.scrollWidth, screen: view.innerWidth,
    styled: view.getComputedStyle(page.body).maxWidth, charts: charts.length,
    flat: charts.filter(c => c.height < 40 || c.width < 60).length,
    text: Math.min(99, ...small), hidden: [...page.querySelectorAll(".show")]
      .filter(s => view.getComputedStyle(s).visibility !== "hidden").length}};
}};
addEventListener("load", () => {{
  document.getElementById("measured").textContent = JSON.stringify(all.map(measure));
}});
</script></body>"""


@dataclass
class Seen:
    """What the browser measured of each page, and what it wrote to its console."""

    pages: list[dict[str, float | str]]
    console: list[str]


def look(pages: list[tuple[str, int]], folder: Path) -> Seen:
    frames = "".join(
        f'<iframe width="{width}" height="900" style="border:0" srcdoc="{html.escape(page)}">'
        "</iframe>"
        for page, width in pages
    )
    wrapper = folder / "wrapper.html"
    wrapper.write_text(WRAPPER.format(frames=frames), encoding="utf-8")
    assert CHROMIUM
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    seen = subprocess.run(
        [*command, wrapper.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    measured = re.search(r'<pre id="measured">(.*?)</pre>', seen.stdout, re.DOTALL)
    assert measured, f"the browser gave no measurements: {seen.stderr[-2000:]}"
    return Seen(
        json.loads(measured[1]), [one for one in seen.stderr.splitlines() if "CONSOLE" in one]
    )


needs_browser = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")


@needs_browser
def test_pages_fit_every_screen_and_break_no_rule(tmp_path: Path) -> None:
    """From phone to wide screen: no sideways scrolling, the style applied, nothing refused."""
    stories = ["classified", "thirty classes", "regressed", "not finite", "one epoch", "just begun"]
    shown = [(render_report(STORIES[story]), width) for story in stories for width in WIDTHS]
    seen = look(shown, tmp_path)
    assert seen.console == []
    for (story, width), page in zip(
        ((story, width) for story in stories for width in WIDTHS), seen.pages, strict=True
    ):
        assert page["screen"] == width
        assert page["width"] == width, f"{story} is {page['width']} wide on a screen of {width}"
        assert page["styled"] == "1216px", "the style sheet was refused"
        assert page["flat"] == 0, f"{story} has a chart without a size at {width}"
        assert page["hidden"] == 0, "a readout shows without a pointer"
        assert page["text"] >= 10, f"{story} has axis labels too small to read at {width}"


@needs_browser
def test_the_browser_test_sees_what_it_looks_for(tmp_path: Path) -> None:
    """A page that is too wide, or whose style the policy refuses, does not pass as a good one."""
    good = render_report(STORIES["just begun"])
    wide = good.replace("<main>", '<main><svg width="900" height="1"></svg>')
    refused = good.replace("--paper: #fffefb", "--paper: #fffefa")
    assert good not in (wide, refused)
    seen = look([(wide, 360), (refused, 360)], tmp_path)
    assert seen.pages[0]["width"] > 360  # type: ignore[operator]
    assert seen.pages[1]["styled"] == "none"
    assert any("Content Security Policy" in one for one in seen.console)
