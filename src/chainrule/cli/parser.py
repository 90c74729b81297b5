"""The commands and their options. Unknown ones are answered with the nearest known."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from chainrule import config
from chainrule.cli import options
from chainrule.cli.options import examples
from chainrule.data import known_sets
from chainrule.errors import UsageError, nearest

Arguments = argparse.Namespace
COMMANDS = {
    "train": "train a network on a table, pictures, sounds, a text, or a set that has a name",
    "predict": "predict the rows of a table, pictures, sounds or a text with a trained network",
    "generate": "let a network that was trained on a text write on",
    "explain": "walk through one step of backpropagation in numbers",
    "stages": "show a function of yours from its trace to machine code",
    "profile": "time a run's training step, kernel by kernel",
    "report": "write the report of a run, one HTML page",
    "cache": "show the compiled code that is kept, or remove it",
}
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
        epilog=examples(
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
    options.train(_command(commands, "train", "DATA [OPTIONS]", "--resume RUN [OPTIONS]"))
    options.predict(_command(commands, "predict", "RUN DATA [OPTIONS]"))
    options.generate(_command(commands, "generate", "RUN [OPTIONS]"))
    options.explain(_command(commands, "explain", "SUBJECT [OPTIONS]"))
    options.stages(_command(commands, "stages", "FILE.py [OPTIONS]"))
    options.profile(_command(commands, "profile", "RUN [DATA] [OPTIONS]"))
    options.report(_command(commands, "report", "RUN [OPTIONS]"))
    options.cache(_command(commands, "cache", "[OPTIONS]"))
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
