"""The shell of every page chainrule writes: one HTML file that needs nothing else.

A page is a jinja2 template of `templates/` that extends `page.html`. The browser is told (by a
Content-Security-Policy) to run no script and to fetch nothing; the one style sheet is allowed by
its hash. All text is escaped, so a class called `<script>` is only a name.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from chainrule.errors import ChainruleError
from chainrule.report.svg import Svg

if TYPE_CHECKING:
    from jinja2 import Environment

# Control characters other than tab and line ends have no place in HTML.
_CONTROLS = {code: "\ufffd" for code in (*range(32), 127) if code not in {9, 10, 13}}


@dataclass(frozen=True)
class Table:
    """Numbers behind a picture; `note` says what was left out, if anything.

    The first column holds names; the others hold numbers, or text where `words` is true.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    words: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture with its title, one line on how to read it, and its numbers.

    `key` is the figure's anchor on the page. `notes` are sentences under the picture.
    """

    key: str
    title: str
    about: str
    picture: Svg
    table: Table | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class LegendEntry:
    """A name beside a sample of its line; `ink` is the line's class in `page.css`."""

    name: str
    ink: str


def render_page(template: str, **content: Any) -> str:
    """The page that `template` makes of `content`, as one self-contained HTML text.

    `template` is a file of `templates/`; `content` must hold its `title` and whatever else the
    template names. Raises ChainruleError where jinja2 is not installed.
    """
    style, digest = _style()
    page = _environment().get_template(template).render(style=Svg(style), digest=digest, **content)
    return page.translate(_CONTROLS)


@cache
def _style() -> tuple[str, str]:
    """The style sheet and its hash in the form that a Content-Security-Policy takes."""
    style = _source("page.css")
    digest = hashlib.sha256(style.encode()).digest()
    return style, f"sha256-{base64.b64encode(digest).decode()}"


def _source(name: str) -> str:
    return files("chainrule.report").joinpath("templates", name).read_text("utf-8")


@cache
def _environment() -> Environment:
    try:
        import jinja2
    except ImportError as missing:
        raise ChainruleError(
            "pages are made with jinja2, which is not installed", do="pip install jinja2"
        ) from missing
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
