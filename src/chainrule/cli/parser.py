"""The commands and their options. Unknown ones are answered with the nearest known."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from chainrule import config
from chainrule.cli.values import LARGEST_SEED, number, share, whole, whole_or, widths
from chainrule.data import BUILTIN, NAMED, known_sets
from chainrule.errors import UsageError, nearest

Arguments = argparse.Namespace
COMMANDS = {
    "train": "train a network on a table, pictures, sounds, a text, or a set that has a name",
    "predict": "predict the rows of a table, pictures, sounds or a text with a trained network",
    "explain": "walk through one step of backpropagation in numbers",
    "report": "write the report of a run, one HTML page",
}
_TABLES = "a table (.csv, .tsv, .parquet, .jsonl), or - for one on stdin"
_DATA = (
    f"a built-in set ({', '.join(BUILTIN)}), a public one ({', '.join(NAMED)}), {_TABLES}, a text "
    "(.txt), or a folder with a sub-folder of pictures or sounds for each class"
)
_BEFORE_COMMAND = ("-h", "--help", "--version")
_NEGATIVE = re.compile(r"-[\d.]|-inf|-nan")
_OPTION = re.compile(r"--?[A-Za-z]")  # not -, nor -1


class _Parser(argparse.ArgumentParser):
    """Raises instead of exiting, so that every mistake is told in one way."""

    def error(self, message: str) -> NoReturn:
        where, found = None, re.fullmatch(r"argument ([^:]+): (.*)", message, re.DOTALL)
        if found:
            where, message = found[1], found[2]
        missing = re.fullmatch(r"the following arguments are required: (.*)", message)
        if missing:
            message = f"{self.prog} needs {' and '.join(missing[1].split(', '))}"
        if message == "expected one argument":
            where, message = None, f"{where} needs a value"
        raise UsageError(message, where=where, do=f"see `{self.prog} --help`")


def parse(words: Sequence[str]) -> Arguments:
    """The arguments of one command line; UsageError for anything unknown.

    Help and the version are printed and end in SystemExit, as argparse has it.
    """
    parser = _parser()
    words = _as_options(words)
    place = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
    _check_before_command(words[:place], words[place:])
    if place < len(words):
        command = words[place]
        if command not in COMMANDS:
            raise _unknown_command(command)
        _check_options(command, words[place + 1 :], _options(parser, command))
    arguments, rest = parser.parse_known_args(words)
    if rest:
        raise UsageError(
            f"{rest[0]!r} is one argument too many",
            where=f"chainrule {arguments.command}",
            do=f"see `chainrule {arguments.command} --help`",
        )
    return arguments


def _as_options(words: Sequence[str]) -> list[str]:
    """`help train` is `train --help`, and no words at all ask for help. A negative number after an
    option is its value: argparse takes -1e-3 for an option."""
    if not words:
        return ["--help"]
    if words[0] == "help":
        return [*words[1:2], "--help"]
    joined: list[str] = []
    for word in words:
        if _NEGATIVE.match(word) and joined and re.fullmatch(r"--[a-z-]+", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _check_before_command(before: Sequence[str], after: Sequence[str]) -> None:
    for word in before:
        if word not in _BEFORE_COMMAND:
            command = after[0] if after else "COMMAND"
            raise UsageError(
                f"the option {word} stands before the command",
                do=f"give a command first: chainrule {command} {word}; "
                "see `chainrule --help` for the commands",
            )


def _unknown_command(word: str) -> UsageError:
    close = nearest(word, COMMANDS)
    if word in known_sets() or Path(word).is_file():
        hint = f"train on it with: chainrule train {word}"
    elif close:
        hint = f"did you mean {close!r}? known: {', '.join(COMMANDS)}"
    else:
        hint = f"known: {', '.join(COMMANDS)}"
    return UsageError(f"unknown command {word!r}", do=hint)


def _check_options(command: str, words: Sequence[str], known: Collection[str]) -> None:
    """Before anything else is looked at, so that a slip in a name is told as that."""
    for word in words:
        if word == "--":
            return
        name = word.partition("=")[0]
        if _OPTION.match(word) and name not in known:
            close = nearest(name, [k for k in known if k.startswith("--")])
            raise UsageError(
                f"unknown option {name!r}",
                where=f"chainrule {command}",
                do=(f"did you mean {close}? " if close else "")
                + f"see `chainrule {command} --help`",
            )


def _options(parser: argparse.ArgumentParser, command: str) -> list[str]:
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return list(commands.choices[command]._option_string_actions)


# --- the commands ---------------------------------------------------------------------------


def _parser() -> _Parser:
    from chainrule import __version__

    called = config.COMMAND
    parser = _Parser(
        prog=called,
        usage=f"{called} COMMAND [OPTIONS]",
        description="Train neural networks by backpropagation, and see every step.",
        epilog=_examples(
            f"{called} train digits",
            "a network on 1,797 handwritten digits, in seconds",
            f"{called} train TABLE.csv --target COLUMN",
            "a network on your own table",
            f"{called} explain xor",
            "one step of backpropagation, in its numbers",
            f"{called} COMMAND --help",
            "what a command takes",
        ),
        formatter_class=_Help,
        add_help=False,
        allow_abbrev=False,
    )
    _titles(parser, "commands")
    version = f"chainrule {__version__}"
    parser.add_argument("--version", action="version", version=version, help="say the version")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", prog=called)
    _train(_command(commands, "train", "DATA [OPTIONS]", "--resume RUN [OPTIONS]"))
    _predict(_command(commands, "predict", "RUN DATA [OPTIONS]"))
    _explain(_command(commands, "explain", "SUBJECT [OPTIONS]"))
    _report(_command(commands, "report", "RUN [OPTIONS]"))
    return parser


class _Help(argparse.RawDescriptionHelpFormatter):
    """Options in one column, what they mean in the next, whatever the terminal's width."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=27)

    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        if not isinstance(action, argparse._SubParsersAction):
            return text
        return "".join(line[2:] for line in text.splitlines(keepends=True)[1:])  # no "COMMAND"


def _titles(parser: argparse.ArgumentParser, positionals: str) -> None:
    """Plain words over what argparse calls positional arguments, and for help."""
    parser._positionals.title = positionals
    parser.add_argument("-h", "--help", action="help", help="show this help")


def _examples(*pairs: str) -> str:
    """Command lines, each with what it does below it."""
    lines = [f"  {line}" if i % 2 == 0 else f"      {line}" for i, line in enumerate(pairs)]
    return "\n".join(["examples:", *lines])


def _command(commands: Any, name: str, *forms: str) -> argparse.ArgumentParser:
    usage = "\n       ".join(f"{config.COMMAND} {name} {form}" for form in forms)
    about = COMMANDS[name]
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        usage=usage,
        description=about[0].upper() + about[1:] + ".",
        formatter_class=_Help,
        add_help=False,
        allow_abbrev=False,
    )
    _titles(parser, "arguments")
    parser.add_argument("--json", action="store_true", help="end stdout with one JSON object")
    return parser


def _train(parser: argparse.ArgumentParser) -> None:
    parser.description = f"{parser.description} What is not given is chosen to fit the data."
    add = parser.add_argument
    add("data", metavar="DATA", nargs="?", help=_DATA)
    add("--resume", metavar="RUN", help="go on with a run that was stopped or killed")
    add = parser.add_argument_group("data").add_argument
    add("--download", action="store_true", help="fetch a public set that is not here yet")
    add("--target", metavar="COLUMN", help="the column of the table to predict")
    add("--task", metavar="TASK", help="regression, binary or multiclass (the target's)")
    add("--text", metavar="COLUMN,...", help="columns of the table whose words count")
    add(
        "--context",
        metavar="N",
        type=whole(1),
        help="symbols in a row of text (64); words of a column",
    )
    add("--words", action="store_true", help="words, not characters, are the symbols of a text")
    add("--forecast", metavar="COLUMN", help="what of the table to forecast: its rows are moments")
    add("--horizon", metavar="N", type=whole(1), help="how many rows ahead (1)")
    add("--window", metavar="N", type=whole(1), help="how many rows back a forecast sees")
    add("--image-size", metavar="WxH", help="size that every picture of a folder is brought to")
    length = number("a number of seconds above 0", 0, 3600)
    add("--seconds", metavar="N", type=length, help="length that every sound is brought to")
    add("--skip-unreadable", action="store_true", help="leave out files that cannot be read")
    net = parser.add_argument_group("network")
    add = net.add_argument
    add("--hidden", metavar="N,N,...", type=widths, help="widths of the hidden layers, or none")
    add("--activation", metavar="NAME", help="relu, tanh, sigmoid, gelu, ...")
    rate = number("a share below 1, such as 0.2", 0, 1, low_counts=True)
    add("--dropout", metavar="RATE", type=rate, help="share of each hidden layer to leave out")
    add = parser.add_argument_group("training").add_argument
    add("--loss", metavar="NAME", help="the error to minimise (the one that fits the task)")
    add("--optimizer", metavar="NAME", help="adam, adamw, sgd, rmsprop, rprop, ... (adam)")
    rate = number("a finite number above 0", 0, math.inf)
    add("--learning-rate", metavar="RATE", type=rate, help="size of the steps, above 0")
    add("--epochs", metavar="N", type=whole(1), help="passes over the training rows")
    add("--batch-size", metavar="N", type=whole_or("full", 1), help="rows in a step, or full")
    add(
        "--validation",
        metavar="SHARE",
        type=share,
        help="rows to hold out, a share or a number (0.2)",
    )
    many = whole_or("off", 1)
    add(
        "--patience", metavar="N", type=many, help="epochs without progress before it stops, or off"
    )
    add("--class-weights", metavar="HOW", type=_weights, help="balanced: rare classes count more")
    seed = whole(0, LARGEST_SEED)
    add("--seed", metavar="N", type=seed, help="the same seed gives the same bits (0)")
    add("--backend", metavar="NAME", help=_backends())
    add = parser.add_argument_group("keeping and showing").add_argument
    add("--run-dir", metavar="DIR", help="where the run is kept (runs/NAME-NNN)")
    seconds = number("a number of seconds, 0 or more", 0, math.inf, low_counts=True)
    add("--save-every", metavar="SECONDS", type=seconds, help="time between checkpoints (5)")
    add("--measure-every", metavar="N", type=whole(0), help="steps between measurements; 0: never")
    add("--quiet", action="store_true", help="no progress")
    called = config.COMMAND
    parser.epilog = _examples(
        f"{called} train digits --seed 1",
        "a built-in set, with other first weights",
        f"{called} train pets/ --image-size 64x64",
        "pictures in folders by class",
        f"{called} train reviews.csv --target label --text body",
        "a table with a column of texts, whose words count",
        f"{called} train sales.csv --forecast revenue --horizon 12",
        "the next 12 rows of a column, from those before",
        f"{called} train houses.csv --target price --epochs 200",
        "a table; columns and task are inferred, and said",
        f"{called} train a.csv --target kind --hidden 64,32 --activation tanh",
        "a network of your choice",
        f"cat a.csv | {called} train - --target kind --json",
        "CSV from a pipe; the result as one line of JSON",
        f"{called} train --resume runs/digits-001",
        "go on where a run was stopped; it ends in the same bits",
    )


def _predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the directory of a run")
    rows = f"what to predict: {_TABLES}, pictures, sounds, a text, or rows in an .npy file"
    parser.add_argument("data", metavar="DATA", help=rows)
    parser.add_argument(
        "--skip-unreadable", action="store_true", help="leave out files that cannot be read"
    )
    parser.add_argument("--output", metavar="FILE", help="write the CSV here instead of to stdout")
    called = config.COMMAND
    parser.epilog = _examples(
        f"{called} predict runs/pets-001 holiday/",
        "the class of every picture in a folder",
        f"{called} predict runs/houses-001 new.csv --output prices.csv",
        "the predictions as a CSV file, one line for each row of new.csv",
        f"cat new.csv | {called} predict runs/houses-001 -",
        "from one pipe into the next",
    )


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "subject", metavar="SUBJECT", help="a built-in set such as xor, or the directory of a run"
    )
    parser.add_argument("--row", metavar="N", type=whole(0), help="the row to learn from")
    parser.add_argument("--html", metavar="FILE", help="also write it as one HTML page")
    seed = whole(0, LARGEST_SEED)
    parser.add_argument("--seed", metavar="N", type=seed, default=0, help="of the first weights")
    called = config.COMMAND
    parser.epilog = _examples(
        f"{called} explain xor --seed 3",
        "a small network that has not learned yet",
        f"{called} explain runs/iris-001 --row 17 --html step.html",
        "a trained network and one of its rows, also as a page",
    )


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the directory of a run")
    parser.add_argument("--output", metavar="FILE", help="where to write it (RUN/report.html)")
    parser.epilog = _examples(
        f"{config.COMMAND} report runs/digits-001 --output digits.html",
        "the page about a run, in a file that needs nothing else",
    )


def _backends() -> str:
    return f"what runs the arithmetic: {' or '.join(config.BACKENDS)} ({config.BACKEND})"


def _weights(text: str) -> str:
    if text != "balanced":
        raise argparse.ArgumentTypeError(f"{text!r} is not 'balanced', the one way there is")
    return text
