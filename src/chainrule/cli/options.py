"""What each command takes: its arguments, its options and its examples."""

from __future__ import annotations

import argparse
import math

from chainrule import config
from chainrule.cli.values import LARGEST_SEED, number, share, whole, whole_or, widths
from chainrule.data import BUILTIN, NAMED, SERIES
from chainrule.data.corpus import MOST_WORDS

_TABLES = "a table (.csv, .tsv, .parquet, .jsonl), or - for one on stdin"
_SETS = ", ".join([*BUILTIN, *SERIES])
_DATA = (
    f"a built-in set ({_SETS}), a public one ({', '.join(NAMED)}), {_TABLES}, a text (.txt) or a "
    "folder of texts, or a folder with a sub-folder of pictures or sounds for each class"
)


def examples(*pairs: str) -> str:
    """Command lines, each with what it does below it."""
    lines = [f"  {line}" if i % 2 == 0 else f"      {line}" for i, line in enumerate(pairs)]
    return "\n".join(["examples:", *lines])


def train(parser: argparse.ArgumentParser) -> None:
    """The options of `train`."""
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
        help="symbols in a row of text (64); words of a column (all, 200 at most)",
    )
    add("--words", action="store_true", help="words, not characters, are the symbols of a text")
    most = f"how many words it knows, the most frequent ones ({MOST_WORDS})"
    add("--vocabulary", metavar="N", type=whole(1), help=most)
    add("--forecast", metavar="COLUMN", help="what of the table to forecast: its rows are moments")
    add("--horizon", metavar="N", type=whole(1), help="how many rows ahead (1)")
    add("--window", metavar="N", type=whole(1), help="how many rows back a forecast sees")
    add("--image-size", metavar="WxH", help="size that every picture of a folder is brought to")
    length = number("a number of seconds above 0", 0, 3600)
    add("--seconds", metavar="N", type=length, help="length that every sound is brought to")
    add("--skip-unreadable", action="store_true", help="leave out files that cannot be read")
    net = parser.add_argument_group("network")
    add = net.add_argument
    add("--net", metavar="NAME", help="dense, cnn, rnn, lstm, gru or transformer (what fits)")
    add("--hidden", metavar="N,N,...", type=widths, help="widths of the hidden layers, or none")
    add("--layers", metavar="N", type=whole(1, 100), help="so many hidden layers, all of one width")
    add("--heads", metavar="N", type=whole(1), help="heads of a transformer's attention")
    add("--activation", metavar="NAME", help="relu, tanh, sigmoid, gelu, ...")
    rate = number("a share below 1, such as 0.2", 0, 1, low_counts=True)
    add("--dropout", metavar="RATE", type=rate, help="share of each hidden layer to leave out")
    group = parser.add_argument_group("training")
    add = group.add_argument
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
    _threads(group)
    add = parser.add_argument_group("keeping and showing").add_argument
    add("--run-dir", metavar="DIR", help="where the run is kept (runs/NAME-NNN)")
    seconds = number("a number of seconds, 0 or more", 0, math.inf, low_counts=True)
    add("--save-every", metavar="SECONDS", type=seconds, help="time between checkpoints (5)")
    add("--measure-every", metavar="N", type=whole(0), help="steps between measurements; 0: never")
    add("--quiet", action="store_true", help="no progress")
    called = config.COMMAND
    parser.epilog = examples(
        f"{called} train digits --seed 1",
        "a built-in set, with other first weights",
        f"{called} train fashion-mnist --net cnn",
        "a public set of pictures, with a convolutional network",
        f"{called} train book.txt --net transformer",
        "a language model of a text: `generate` lets it write",
        f"{called} train plays/ --words --vocabulary 5000",
        "one of all texts in a folder, word by word",
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


def predict(parser: argparse.ArgumentParser) -> None:
    """The options of `predict`."""
    parser.add_argument("run", metavar="RUN", help="the directory of a run")
    rows = f"what to predict: {_TABLES}, pictures, sounds, a text, or rows in an .npy file"
    parser.add_argument("data", metavar="DATA", help=rows)
    parser.add_argument(
        "--skip-unreadable", action="store_true", help="leave out files that cannot be read"
    )
    parser.add_argument("--output", metavar="FILE", help="write the CSV here instead of to stdout")
    _threads(parser)
    called = config.COMMAND
    parser.epilog = examples(
        f"{called} predict runs/pets-001 holiday/",
        "the class of every picture in a folder",
        f"{called} predict runs/houses-001 new.csv --output prices.csv",
        "the predictions as a CSV file, one line for each row of new.csv",
        f"cat new.csv | {called} predict runs/houses-001 -",
        "from one pipe into the next",
    )


def generate(parser: argparse.ArgumentParser) -> None:
    """The options of `generate`."""
    parser.add_argument("run", metavar="RUN", help="the directory of a run that learned a text")
    add = parser.add_argument
    add("--prompt", metavar="TEXT", help="what the text begins with (as after a line break)")
    add("--length", metavar="N", type=whole(1), default=500, help="symbols to write (500)")
    heat = number("a number, 0 or more", 0, math.inf, low_counts=True)
    add(
        "--temperature",
        metavar="T",
        type=heat,
        default=0.8,
        help="how boldly: 0 takes the likeliest, 1 draws as the network says (0.8)",
    )
    add("--top", metavar="K", type=whole(1), help="draw among the K likeliest symbols only")
    seed = whole(0, LARGEST_SEED)
    add("--seed", metavar="N", type=seed, default=0, help="the same seed writes the same (0)")
    _threads(parser)
    called = config.COMMAND
    parser.epilog = examples(
        f'{called} generate runs/book-001 --prompt "The " --temperature 0.8',
        "a text that begins so",
        f"{called} generate runs/book-001 --length 2000 --seed 1 > more.txt",
        "another one, into a file",
    )


def explain(parser: argparse.ArgumentParser) -> None:
    """The options of `explain`."""
    parser.add_argument(
        "subject", metavar="SUBJECT", help="a built-in set such as xor, or the directory of a run"
    )
    parser.add_argument("--row", metavar="N", type=whole(0), help="the row to learn from")
    parser.add_argument("--html", metavar="FILE", help="also write it as one HTML page")
    seed = whole(0, LARGEST_SEED)
    parser.add_argument("--seed", metavar="N", type=seed, default=0, help="of the first weights")
    called = config.COMMAND
    parser.epilog = examples(
        f"{called} explain xor --seed 3",
        "a small network that has not learned yet",
        f"{called} explain runs/iris-001 --row 17 --html step.html",
        "a trained network and one of its rows, also as a page",
    )


def stages(parser: argparse.ArgumentParser) -> None:
    """The options of `stages`."""
    parser.add_argument("file", metavar="FILE.py", help="your Python file; it is run")
    parser.add_argument("--function", metavar="NAME", help="which of the file's functions")
    parser.add_argument("--stage", metavar="NAME", help="show this one alone, such as regions")
    parser.epilog = (
        "The file defines a function and `example`, a tuple of arguments to show it for.\n"
        "It is run as Python runs it: name only a file of yours.\n\n"
    ) + examples(
        f"{config.COMMAND} stages examples/logistic.py --stage loops",
        "the kernels of a loss and its gradient, with their arithmetic",
    )


def profile(parser: argparse.ArgumentParser) -> None:
    """The options of `profile`."""
    parser.add_argument("run", metavar="RUN", help="the directory of a run")
    parser.add_argument("data", metavar="DATA", nargs="?", help="where its data are, if they moved")
    length = number("a number of seconds above 0", 0, 3600)
    parser.add_argument(
        "--seconds", metavar="S", type=length, default=0.5, help="how long to run steps (0.5)"
    )
    most = whole(1, config.MOST_THREADS)
    parser.add_argument(
        "--threads", metavar="N", type=most, help="most threads to use (as it was trained)"
    )
    parser.epilog = (
        "Steps are taken on a copy of the weights. Nothing of the run changes; what was\n"
        "found is kept beside it as profile.json, which `report` draws.\n\n"
    ) + examples(
        f"{config.COMMAND} profile runs/digits-001",
        "where the time of a step goes, and how much of the machine it uses",
    )


def report(parser: argparse.ArgumentParser) -> None:
    """The options of `report`."""
    parser.add_argument("run", metavar="RUN", help="the directory of a run")
    parser.add_argument("--output", metavar="FILE", help="where to write it (RUN/report.html)")
    parser.epilog = examples(
        f"{config.COMMAND} report runs/digits-001 --output digits.html",
        "the page about a run, in a file that needs nothing else",
    )


def cache(parser: argparse.ArgumentParser) -> None:
    """The options of `cache`."""
    parser.add_argument("--clear", action="store_true", help="remove all of it")
    parser.epilog = (
        "What a network or a function was compiled to is kept, so that the next time it\n"
        "begins at once. Nothing is lost with it: what is missing is compiled again.\n"
        "CHAINRULE_CACHE names another folder; CHAINRULE_CACHE=off keeps nothing."
    )


def _threads(parser: argparse._ActionsContainer) -> None:
    many = whole(1, config.MOST_THREADS)
    parser.add_argument("--threads", metavar="N", type=many, help="most threads to use (all cores)")


def _backends() -> str:
    return f"what runs the arithmetic: {' or '.join(config.BACKENDS)} ({config.BACKEND})"


def _weights(text: str) -> str:
    if text != "balanced":
        raise argparse.ArgumentTypeError(f"{text!r} is not 'balanced', the one way there is")
    return text
