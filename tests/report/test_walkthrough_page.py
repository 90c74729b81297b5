"""The page of a walkthrough: the same numbers as on the terminal, in one file alone."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from page_reader import Element, read_page

from chainrule import nn
from chainrule.data import load
from chainrule.observe.walkthrough import DIFFERS, Subject, Walkthrough, sections
from chainrule.report.walkthrough import render_walkthrough
from chainrule.training.objective import objective
from chainrule.training.walkthrough import walk

EVIL = "<script>alert(1)</script>"
FACTS = (("network", "small"), ("loss", f"loss {EVIL}"))


def subject(**changes: object) -> Subject:
    fields = (("bit 0", "0"), (f"bit {EVIL}", '"1"'))
    plain = Subject(f"xor {EVIL}", "1 of 4", FACTS, fields, ("target", EVIL), remarks=(EVIL,))
    return replace(plain, **changes)  # type: ignore[arg-type]


def xor(names: tuple[str, ...] = ("bit 0", "bit 1")) -> Walkthrough:
    data = load("xor")
    net = nn.init(nn.Sequential(nn.Dense(2), nn.sigmoid, nn.Dense(1), nn.sigmoid), data.x, seed=3)
    goal = objective("squared_error", "binary", 1, net)
    return walk(net, data.x[1], data.y[1], goal, 0.5, input_names=names)


def digits() -> Walkthrough:
    data = load("digits")
    net = nn.init(nn.mlp(10, (128, 64)), data.x[:1], seed=0)
    goal = objective("cross_entropy", "multiclass", 10, net)
    names = [f"class {c}" for c in data.classes]
    return walk(net, data.x[17], data.y[17], goal, 0.1, output_names=names)


PAGES = {
    "xor": lambda: render_walkthrough(subject(), xor()),
    "evil names": lambda: render_walkthrough(subject(), xor((EVIL, '"><img src=x onerror=a>'))),
    "digits": lambda: render_walkthrough(
        subject(image=load("digits").x[17].reshape(8, 8)), digits()
    ),
}


def cells(page: Element) -> list[list[str]]:
    """Every line of every table, with the spaces and minus signs of plain text."""
    lines = []
    for row in page.all("tr"):
        words = [re.sub(r"\s+", " ", child.text).strip() for child in row.children]
        lines.append([word.replace("−", "-") for word in words])
    return lines


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_whole_and_needs_nothing_else(name: str) -> None:
    """Closed in order, unique ids, links that lead somewhere; no script, style or address."""
    text = PAGES[name]()
    page = read_page(text)
    ids = [one.attributes["id"] for one in page.walk() if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    links = {one.attributes["href"].removeprefix("#") for one in page.all("a")}
    assert links == {"start", "forward", "error", "backward", "update", "check"}
    assert links <= set(ids)
    for one in page.walk():
        assert one.name not in {"script", "img", "iframe", "object", "embed", "form"}
        for attribute, value in one.attributes.items():
            assert attribute not in {"style", "src", "srcset"}
            assert not attribute.startswith("on")
            assert "//" not in value
    digest = base64.b64encode(hashlib.sha256(page.all("style")[0].text.encode()).digest()).decode()
    [policy] = [m for m in page.all("meta") if m.attributes.get("http-equiv")]
    assert f"style-src 'sha256-{digest}'" in policy.attributes["content"]
    assert len(text.encode()) < 1_000_000


@pytest.mark.parametrize("name", ["xor", "evil names"])
def test_names_are_only_names(name: str) -> None:
    """A column called <script> is escaped in tables, in the drawing and in its hints."""
    text = PAGES[name]()
    assert EVIL not in text
    assert "alert(1)" in read_page(text).text


@pytest.mark.parametrize("name", ["xor", "digits"])
def test_the_page_holds_every_number_of_the_terminal(name: str) -> None:
    """Each line of each table of the four sections is on the page, cell by cell."""
    walked = xor() if name == "xor" else digits()
    found = [[cell for cell in line if cell] for line in cells(read_page(PAGES[name]()))]
    for section in sections(walked):
        for part in section.parts:
            for block in part.blocks:
                for row in block.rows:
                    numbers = [cell.strip() for cell in row.cells if cell.strip()]
                    bare = [
                        [re.sub(r"^[×=-] (?=.)", "", cell) for cell in line[1:]]
                        for line in found
                        if line and line[0] == row.label
                    ]
                    assert numbers in bare, (section.title, row)


def test_large_layers_are_listed_in_full_besides() -> None:
    """Of 128 units three are walked through, and all are listed."""
    page = read_page(PAGES["digits"]())
    listed = [one for one in page.all("details") if "every unit" in one.all("summary")[0].text]
    assert [len(one.all("tr")) - 1 for one in listed] == [128, 64, 10]
    assert not read_page(PAGES["xor"]()).all("details")


@pytest.mark.parametrize("name", PAGES)
def test_the_drawing_is_sound(name: str) -> None:
    """Well-formed SVG; a line for each weight between drawn units, in the colour of its sign."""
    drawings = re.findall(r"<svg class=\"chart.*?</svg>", PAGES[name](), re.DOTALL)
    trees = [ElementTree.fromstring(drawing) for drawing in drawings]
    network = trees[-1]
    lines = network.findall("line")
    assert lines
    for line in lines:
        told = line.findtext("title") or ""
        weight = told.split("weight ")[1].split(",")[0]
        assert line.get("class") == ("held" if weight.startswith("−") else "train")
        assert 0.5 <= float(line.get("stroke-width", "0")) <= 5
    if name == "xor":
        assert len(lines) == 6
        # Two circles a unit: one hides the lines behind it, one is its rim.
        assert len(network.findall("circle")) == 2 * 5


def test_a_picture_is_shown_as_one() -> None:
    """A row that is an image is drawn; every pixel that is not empty is a square."""
    page = read_page(PAGES["digits"]())
    [figure] = [one for one in page.all("figure") if one.attributes["id"] == "row-picture"]
    squares = [one for one in figure.all("rect") if "cell" in one.attributes["class"]]
    assert len(squares) == int(np.count_nonzero(load("digits").x[17]))


def test_the_verdict_is_an_alarm_where_gradients_differ() -> None:
    """The closing box says that all agree, or how many do not."""
    walked = xor()
    calm = read_page(render_walkthrough(subject(), walked))
    [box] = [one for one in calm.all("section") if one.attributes.get("id") == "check"]
    assert box.attributes["class"] == "banner"
    assert "Every gradient agrees with its numeric derivative to within 1e-7." in box.text
    last = walked.layers[-1]
    checks = (replace(last.checks[0], verdict=DIFFERS), *last.checks[1:])
    wrong = replace(walked, layers=(*walked.layers[:-1], replace(last, checks=checks)))
    alarm = read_page(render_walkthrough(subject(), wrong))
    [box] = [one for one in alarm.all("section") if one.attributes.get("id") == "check"]
    assert box.attributes["class"] == "banner alarm"
    assert "1 of 9 gradients DO NOT agree" in box.text
