"""The networks that `chainrule train` builds: which goes with which data, and how each is made.

Sources: LeCun, Bottou, Bengio and Haffner 1998 (convolutions and pooling for pictures); Kim 2014
(a convolution over words and the largest of each feature); Elman 1990, Hochreiter and Schmidhuber
1997, Cho et al. 2014 (the recurrent layers); Vaswani et al. 2017 (transformers), with rotary
positions (Su et al. 2021), so that a sequence may be of any length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chainrule import nn
from chainrule.data import Dataset
from chainrule.errors import UsageError, unknown

NETS = ("dense", "cnn", "rnn", "lstm", "gru", "transformer")
RECURRENT: dict[str, Callable[..., Any]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
_OVER_TIME = (*RECURRENT, "transformer")

# What goes with which form of rows, the one that is taken unless told otherwise first.
FITTING = {
    "numbers": ("dense",),
    "pictures": ("cnn", "dense"),
    "sounds": ("cnn", "dense", *_OVER_TIME),
    "text": ("lstm", "gru", "rnn", "transformer", "dense"),
    "bag": ("dense",),
    "words": ("dense", "cnn", *_OVER_TIME),
    "series": ("dense", "cnn", *_OVER_TIME),
}
_WORDS = {
    "numbers": "rows of numbers",
    "pictures": "pictures",
    "sounds": "sounds",
    "text": "a text",
    "bag": "a bag of words",
    "words": "a column of texts",
    "series": "a series",
}


def form_of(dataset: Dataset) -> str:
    """Which kind of rows these are, a key of `FITTING`."""
    source = dataset.source
    if dataset.time:
        return "text"
    if dataset.symbols:
        return "words"
    if isinstance(source.get("image_shape"), list):
        return "pictures"
    if source.get("kind") == "sounds":
        return "sounds"
    return "series" if "horizon" in source else "bag" if "text" in source else "numbers"


def check_name(name: str | None) -> None:
    """Raises UsageError for a network that there is none of."""
    if name is not None and name not in NETS:
        raise unknown("network", name, NETS)


def check_fits(name: str, form: str) -> None:
    """Raises UsageError for a network that does not go with such rows, with those that do."""
    fitting = FITTING[form]
    if name in fitting:
        return
    others = ", ".join(net for net in fitting[1:])
    raise UsageError(
        f"{name} does not go with {_WORDS[form]}",
        where=f"--net {name}",
        do=f"use {fitting[0]}, which is taken without --net"
        + (f", or: {others}" if others else ""),
    )


@dataclass(frozen=True)
class Shape:
    """What is to be built: the `net` by name, the widths of its layers and what stands in them.

    `hidden` are the widths of a dense or a recurrent network's layers, the channels of a
    convolutional one's, or the width of a transformer once for each block. `activation` None is the
    one that such networks usually have; `heads` None suits the width.
    """

    net: str
    hidden: tuple[int, ...]
    activation: str | None = None
    dropout: float = 0.0
    heads: int | None = None

    def __post_init__(self) -> None:
        if self.net != "dense" and not self.hidden:
            raise UsageError(
                f"a network of the kind {self.net} has at least one layer",
                where="--hidden none",
                do="give its width, such as --hidden 64, or leave it out",
            )
        if self.net in ("lstm", "gru") and self.activation is not None:
            raise UsageError(
                f"{self.net} has activations of its own",
                where=f"--activation {self.activation}",
                do="leave it out, or use --net rnn",
            )
        if self.net != "transformer" and self.heads is not None:
            raise UsageError(
                f"heads go with a transformer, and the network is {self.net}",
                where=f"--heads {self.heads}",
                do="leave it out, or give --net transformer",
            )
        if self.net == "transformer" and len(set(self.hidden)) > 1:
            raise UsageError(
                "all blocks of a transformer have the same width",
                where=f"--hidden {','.join(map(str, self.hidden))}",
                do=f"give the width and the number of blocks: --hidden {self.hidden[0]} "
                f"--layers {len(self.hidden)}",
            )

    def function(self, usual: str) -> Callable[..., Any]:
        """The activation: as wanted, or the usual one."""
        return nn.activation(usual if self.activation is None else self.activation)

    def dropped(self) -> list[Any]:
        """A layer that drops, where there is to be one."""
        return [nn.Dropout(self.dropout)] if self.dropout else []


def network(dataset: Dataset, shape: Shape) -> Any:
    """The network of this shape for a data set. Raises UsageError for settings that do not fit."""
    form = form_of(dataset)
    check_fits(shape.net, form)
    end = nn.Dense(dataset.outputs)
    if shape.net == "dense":
        return nn.Sequential(*_flat(dataset), *_dense(shape), end)
    if form == "pictures":
        return nn.Sequential(*_as_pictures(dataset), *_cnn(shape, _sizes(dataset)), end)
    if shape.net == "cnn" and form in ("sounds", "series"):
        return nn.Sequential(*_over_frames(shape, dataset.x.shape[1], form == "sounds"), end)
    if form == "text":
        return _language_model(shape, dataset.symbols, end)
    if form == "words":
        return nn.Sequential(_over_words(shape, dataset.symbols), *shape.dropped(), end)
    layers = _over_time(shape, causal=False)
    if shape.net == "transformer":
        # In a series it matters how long ago something was, which a mean does not say.
        rows = nn.Flatten() if form == "series" else nn.GlobalAvgPool()
        return nn.Sequential(nn.Dense(shape.hidden[0]), *layers, rows, *shape.dropped(), end)
    if form == "sounds":
        return nn.Sequential(*layers, nn.GlobalAvgPool(), *shape.dropped(), end)
    *below, width = shape.hidden
    cells = [*(_cell(shape, other) for other in below), _cell(shape, width, last=True)]
    return nn.Sequential(*cells, *shape.dropped(), end)


# --- dense ----------------------------------------------------------------------------------


_SYMBOL_WIDTH = 32


def _flat(dataset: Dataset) -> list[Any]:
    """Symbols are looked up; rows of more than one axis are laid flat, except where each place has
    a target of its own."""
    layers: list[Any] = []
    if dataset.symbols:
        layers.append(nn.Embedding(dataset.symbols, _SYMBOL_WIDTH))
    if not dataset.time and (dataset.symbols or dataset.x.ndim > 2):
        layers.append(nn.Flatten())
    return layers


def _dense(shape: Shape) -> list[Any]:
    layers: list[Any] = []
    for width in shape.hidden:
        layers += [nn.Dense(width), shape.function("relu"), *shape.dropped()]
    return layers


# --- convolutions ---------------------------------------------------------------------------

_SMALLEST = 8  # pixels on a side at which pictures are not pooled any more
_MOST_STAGES = 6


def _sizes(dataset: Dataset) -> tuple[int, int, int]:
    """Height, width and channels of a data set's pictures."""
    sizes: Any = dataset.source["image_shape"]
    height, width, channels = (*(int(size) for size in sizes), 1)[:3]
    return height, width, channels


def _as_pictures(dataset: Dataset) -> list[Any]:
    return [] if dataset.x.ndim == 4 else [nn.Reshape(_sizes(dataset))]


def channels_for(dataset: Dataset) -> tuple[int, ...]:
    """The channels of a convolutional network for pictures of this size: a convolution and a
    pooling for each halving, until they are about 7 pixels wide."""
    height, width, _ = _sizes(dataset)
    found = [32]
    side = min(height, width) / 2
    while side > _SMALLEST and len(found) < _MOST_STAGES:
        found.append(min(2 * found[-1], 128))
        side /= 2
    return tuple(found)


def _cnn(shape: Shape, sizes: tuple[int, int, int]) -> list[Any]:
    height, width = sizes[:2]
    function, layers = shape.function("relu"), []
    for channels in shape.hidden:
        pool = (2 if height > 1 else 1), (2 if width > 1 else 1)
        layers += [nn.Conv2d(channels, kernel=3, padding="same"), function, nn.MaxPool2d(pool)]
        height, width = height // pool[0], width // pool[1]
    layers += [nn.Flatten(), nn.Dense(2 * shape.hidden[-1]), function, *shape.dropped()]
    return layers


_KERNEL = 5  # frames, steps or words that a convolution in time sees


def _over_frames(shape: Shape, time: int, pooled: bool) -> list[Any]:
    """Convolutions in time. Of sounds it does not matter when something is heard, so the mean over
    time goes on; in a series it does matter."""
    function, layers = shape.function("relu"), []
    for channels in shape.hidden:
        layers += [nn.Conv1d(channels, kernel=_KERNEL, padding="same"), nn.BatchNorm(), function]
        if time > 1:
            layers.append(nn.MaxPool1d(2))
            time //= 2
    layers.append(nn.GlobalAvgPool() if pooled else nn.Flatten())
    return [*layers, *shape.dropped()]


# Most words are rare, and a network soon knows the texts it learns from by them, unless some are
# hidden. So a cnn tells questions of Shakespeare (the data of examples/text_classifier.py, 40 words
# of each) at a held-out log loss of 0.255 instead of 0.315, and a gru at 0.304 instead of 0.314
# (0.310 without the dropout; with a deviation of 0.05 it stays at 0.314 with it).
_WORD_STD = 0.1
_WORD_DROPOUT = 0.4  # of the embeddings, where the network drops at all


def _over_words(shape: Shape, symbols: int) -> Any:
    """One vector for each text: the mean over its words, or the largest numbers of windows."""
    if shape.net == "transformer":
        embedding = nn.Embedding(symbols, shape.hidden[0], weight_init="normal")
        return nn.Padded(embedding, tuple(_over_time(shape, causal=False)), pool="mean")
    small = nn.initialisers.normal(_WORD_STD)
    embedding = nn.Embedding(symbols, shape.hidden[0], weight_init=small)
    dropped = [nn.Dropout(_WORD_DROPOUT)] if shape.dropout else []
    if shape.net != "cnn":
        return nn.Padded(embedding, (*dropped, *_cells(shape)), pool="mean")
    windows: list[Any] = []
    for channels in shape.hidden:
        windows += [nn.Conv1d(channels, kernel=_KERNEL, padding="same"), shape.function("relu")]
    return nn.Padded(embedding, (*dropped, *windows), pool="max")


# --- over time ------------------------------------------------------------------------------


def _language_model(shape: Shape, symbols: int, end: Any) -> Any:
    """What comes next at each place, from it and those before."""
    if shape.net == "transformer":
        embedding = nn.Embedding(symbols, shape.hidden[0], weight_init="normal")
        return nn.Sequential(embedding, *_over_time(shape, causal=True), end)
    return nn.Sequential(nn.Embedding(symbols, min(shape.hidden[0], 64)), *_cells(shape, True), end)


def _over_time(shape: Shape, *, causal: bool) -> list[Any]:
    """Recurrent layers, or the blocks of a transformer and the norm behind them."""
    if shape.net != "transformer":
        return _cells(shape)
    width = shape.hidden[0]
    block: dict[str, Any] = {"causal": causal, "rotary": True, "dropout": shape.dropout}
    if shape.activation is not None:
        block["activation"] = shape.activation
    heads = _heads(width) if shape.heads is None else shape.heads
    blocks = [nn.TransformerEncoderBlock(width, heads, **block) for _ in shape.hidden]
    return [*blocks, nn.LayerNorm()]


def _heads(width: int) -> int:
    """As many as four, if each gets an even share of the width, which rotary positions need."""
    return next((heads for heads in (4, 2) if width % (2 * heads) == 0), 1)


def _cells(shape: Shape, dropping: bool = False) -> list[Any]:
    """The recurrent layers, with `dropping` each with its dropout behind it."""
    layers: list[Any] = []
    for width in shape.hidden:
        layers += [_cell(shape, width), *(shape.dropped() if dropping else ())]
    return layers


def _cell(shape: Shape, width: int, **options: Any) -> Any:
    if shape.net == "rnn" and shape.activation is not None:
        options["activation"] = shape.activation
    return RECURRENT[shape.net](width, **options)


def widths(
    hidden: Sequence[int] | None, layers: int | None, usual: tuple[int, ...]
) -> tuple[int, ...]:
    """The widths that --hidden and --layers ask for; what is not given is as usual."""
    if layers is None:
        return usual if hidden is None else tuple(hidden)
    given = tuple(usual[:1]) if hidden is None else tuple(hidden)
    if len(given) != 1:
        raise UsageError(
            f"--hidden says that there are {len(given)} layers, and --layers {layers}",
            do="give one width with --layers, or a width for each layer without",
        )
    return given * layers
