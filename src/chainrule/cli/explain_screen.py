"""The walkthrough on a terminal: aligned text, side by side where there is room.

It reads the same without colour. Tables are laid out here rather than by a library, since their
numbers are aligned on the decimal point and small tables share a line on wide screens.
"""

from __future__ import annotations

import io
import os
import sys
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chainrule.cli.speaking import columns, tell
from chainrule.observe.walkthrough import (
    AGREES,
    DIFFERS,
    Block,
    Part,
    Section,
    Subject,
    Walkthrough,
    aligned,
    check_lines,
    sections,
)
from chainrule.observe.wording import printable

if TYPE_CHECKING:
    from rich.text import Text

_NARROWEST = 56  # what the widest table needs
_PROSE = 84  # columns of running text: longer lines are hard to read
_GAP = 4  # between tables side by side
_SHORTEST_LABEL = 8
_MOST_FIELDS = 24
_ASCII = str.maketrans(
    {"×": "x", "→": ">", "½": "1/2", "Σ": "sum", "²": "^2", "─": "-", "…": "~", "·": "."}
)
_INKS = " .:-=+*#%@"  # from dark to light


@dataclass(frozen=True)
class _Piece:
    """Some text and how it looks: a style of rich, or "" for plain."""

    text: str
    style: str = ""


_Line = list[_Piece]


def show(subject: Subject, walk: Walkthrough, width: int | None = None) -> None:
    """Prints the walkthrough on stdout, in `width` columns (the terminal's own if not given)."""
    stream = sys.stdout
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower()
    room = max(_NARROWEST, _columns(stream) if width is None else width)
    lines = list(_page(subject, walk, room))
    for piece_lines in lines:
        for place, piece in enumerate(piece_lines):
            piece_lines[place] = _Piece(_plain(piece.text, encoding), piece.style)
    tell(_styled(lines, room, bool(stream and stream.isatty())))


def _columns(stream: Any) -> int:
    asked = os.environ.get("COLUMNS", "")
    return int(asked) if asked.isdigit() and int(asked) else columns(stream)


def _plain(text: str, encoding: str) -> str:
    """The text in the letters that the terminal has."""
    return printable(text if encoding.startswith("utf") else text.translate(_ASCII), encoding)


def _styled(lines: Sequence[_Line], width: int, in_colour: bool) -> str:
    from rich.console import Console
    from rich.text import Text

    # Its own file, never the stream: rich ends the process when it meets a closed pipe.
    console = Console(
        file=io.StringIO(), force_terminal=in_colour, width=width, highlight=False, emoji=False
    )
    texts = [Text.assemble(*((piece.text, piece.style) for piece in line)) for line in lines]
    with console.capture() as captured:
        console.print(Text("\n").join(_trimmed(texts)), soft_wrap=True)
    return captured.get().rstrip("\n")


def _trimmed(texts: Sequence[Text]) -> Iterator[Text]:
    for text in texts:
        text.rstrip()
        yield text


# --- the page, line by line -----------------------------------------------------------------


def _page(subject: Subject, walk: Walkthrough, width: int) -> Iterator[_Line]:
    yield from _prose(subject.title, width, style="bold")
    yield []
    facts = [*subject.facts, ("row", subject.row_text), *_row_facts(subject)]
    label = max(len(name) for name, _ in facts) + 2
    for name, text in facts:
        yield from _prose(name.ljust(label) + text, width, indent=label)
    if subject.image is not None:
        yield []
        for line in inked(subject.image):
            yield [_Piece(line)]
    for remark in subject.remarks:
        yield from _prose(remark, width)
    for section in sections(walk):
        yield from _section(section, width)
    yield []
    verdict, basis = check_lines(walk)
    style = "bold red" if walk.count(DIFFERS) else "bold green"
    yield from _prose(f"Check: {verdict}", width, style=style)
    yield from _prose(basis, width)


def _row_facts(subject: Subject) -> list[tuple[str, str]]:
    target = (subject.target[0], subject.target[1])
    if subject.image is not None:
        return [target]
    shown = [f"{name} = {value}" for name, value in subject.fields[:_MOST_FIELDS]]
    rest = len(subject.fields) - len(shown)
    return [("values", ", ".join(shown + [f"and {rest} more"] * bool(rest))), target]


def inked(pixels: Any) -> Iterator[str]:
    """A picture of pixels from 0 to 1, each two letters wide, as letters are tall."""
    for row in pixels:
        levels = [min(len(_INKS) - 1, max(0, int(value * len(_INKS)))) for value in row]
        yield "  " + "".join(_INKS[level] * 2 for level in levels)


def _section(section: Section, width: int) -> Iterator[_Line]:
    yield []
    rule = "─" * (min(width, _PROSE) - len(section.title) - 1)
    yield [_Piece(section.title, "bold"), _Piece(f" {rule}", "dim")]
    yield from _prose(section.about, width)
    for part in section.parts:
        yield from _part(part, width)


def _part(part: Part, width: int) -> Iterator[_Line]:
    yield []
    if part.title:
        yield from _prose(part.title, width, style="bold")
    if part.about:
        yield from _prose(part.about, width)
    tables = [_table(block, width - 2) for block in part.blocks]
    for place, row in enumerate(_beside(tables, width - 2)):
        if place or part.about:
            yield []
        for line in row:
            yield [_Piece("  "), *line]
    for note in part.notes:
        yield from _prose(note, width)


def _prose(text: str, width: int, *, style: str = "", indent: int = 0) -> Iterator[_Line]:
    lines = textwrap.wrap(
        text,
        min(width, _PROSE),
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    for line in lines:
        yield [_Piece(line, style)]


# --- tables ---------------------------------------------------------------------------------


def _beside(tables: Sequence[list[_Line]], width: int) -> Iterator[list[_Line]]:
    """The tables in rows, as many beside each other as there is room for."""
    wide = max((_length(line) for table in tables for line in table), default=0)
    across = max(1, (width + _GAP) // (wide + _GAP))
    for start in range(0, len(tables), across):
        group = tables[start : start + across]
        joined: list[_Line] = []
        for number in range(max(len(table) for table in group)):
            line: _Line = []
            for place, table in enumerate(group):
                line.append(_Piece(" " * (place * (wide + _GAP) - _length(line))))
                line += table[number] if number < len(table) else []
            joined.append(line)
        yield joined


def _length(line: _Line) -> int:
    return sum(_wide(piece.text) for piece in line)


def _wide(text: str) -> int:
    """The columns that a text takes: two for the wide letters of East Asia, none for accents that
    are letters of their own."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)


def _table(block: Block, width: int) -> list[_Line]:
    """The lines of a table, made to fit: first without its spare columns, then with shorter
    labels."""
    kept = list(range(len(block.signs)))
    lines = _laid_out(block, kept, None)
    if max(map(_length, lines)) > width:
        kept = [place for place in kept if place not in block.spare]
        lines = _laid_out(block, kept, None)
    longest = max(_wide(text) for text in (block.title, *(row.label for row in block.rows)))
    excess = max(map(_length, lines)) - width
    if excess > 0:
        lines = _laid_out(block, kept, max(_SHORTEST_LABEL, longest - excess))
    return lines


def _laid_out(block: Block, kept: Sequence[int], most: int | None) -> list[_Line]:
    cells = {place: aligned([row.cells[place] for row in block.rows]) for place in kept}
    heads = [block.columns[place + 1] for place in kept]
    widths = [max(len(h), len(cells[p][0])) for h, p in zip(heads, kept, strict=True)]
    signs = [f" {block.signs[p]} " if block.signs[p] and p - 1 in kept else "  " for p in kept]
    labels = [_shortened(row.label, most) for row in block.rows]
    # A row with nothing but its last cell may run on over the empty ones before it.
    full = [label for row, label in zip(block.rows, labels, strict=True) if row.cells[kept[0]]]
    name = _shortened(block.title or block.columns[0], most)
    label_width = max(_wide(label) for label in [*full, name])
    before_last = label_width + sum(map(len, signs)) + sum(widths[:-1])
    overhang = max((_wide(label) - before_last + 2 for label in labels), default=0)
    label_width += max(0, overhang)
    head = [_Piece(name + " " * (label_width - _wide(name)), "bold" if block.title else "dim")]
    for sign, text, wide in zip(signs, heads, widths, strict=True):
        head.append(_Piece(" " * len(sign) + text.rjust(wide), "dim"))
    lines = [head]
    blank = " " * (_length(head) - widths[-1])
    for number, (row, label) in enumerate(zip(block.rows, labels, strict=True)):
        if row.total:
            lines.append([_Piece(f"{blank}{'─' * widths[-1]}", "dim")])
        texts = [cells[place][number] for place in kept]
        lines.append(_cells(label, label_width, signs, texts, widths))
    return lines


def _cells(
    label: str, start: int, signs: Sequence[str], texts: Sequence[str], widths: Sequence[int]
) -> _Line:
    """A row; the first cell's sign begins at column `start`, which a label may run across where
    the first cells are empty."""
    line = [_Piece(label)]
    is_led = False  # whether a number stands to the left, so that a sign makes sense
    for sign, text, wide in zip(signs, texts, widths, strict=True):
        if text.strip():
            # The sign keeps to its number, also under a wide heading.
            line.append(_Piece(" " * (start + wide - len(text) - _length(line))))
            line.append(_Piece(sign if is_led else " " * len(sign), "dim"))
            line.append(_Piece(text, _style(text)))
            is_led = True
        start += len(sign) + wide
    return line


def _style(text: str) -> str:
    word = text.strip()
    return "bold red" if word == DIFFERS else "green" if word == AGREES else ""


def _shortened(label: str, most: int | None) -> str:
    """The label with its middle left out where it is wider than `most` columns."""
    if most is None or _wide(label) <= most:
        return label
    head, tail = label[: len(label) // 2], label[len(label) // 2 :]
    while _wide(head) + _wide(tail) >= most:
        head, tail = (head[:-1], tail) if _wide(head) >= _wide(tail) else (head, tail[1:])
    return f"{head}…{tail}"
