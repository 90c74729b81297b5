"""Recurrent layers, attention, transformer blocks and positions, here and in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
from oracle_images import layer_norm, normal, random
from peer import Case, Weights, part, torch

from chainrule import nn

F = torch.nn.functional
run_module = torch.func.functional_call


def dense(w: Weights, x: Any) -> Any:
    found = x @ w["weight"]
    return found + w["bias"] if "bias" in w else found


# --- recurrent layers ---------------------------------------------------------------------------

KINDS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
ROWS, TIME, WIDTH, SIZE = 4, 6, 3, 5
LENGTHS = np.array([6, 3, 1, 4])
MASK = np.arange(TIME) < LENGTHS[:, np.newaxis]


def _parameters(w: Weights, parts: int, directions: int) -> dict[str, Any]:
    """PyTorch adds two biases; ours is the first, and the second is zero but in GRU's candidate."""
    found = {}
    for number in range(parts):
        own = part(w, f"parts.{number}") if parts > 1 else w
        end = f"_l{number // directions}" + ("_reverse" if number % directions else "")
        size, wide = own["recurrent"].shape
        second = torch.zeros(wide, dtype=torch.float64)
        if "candidate_bias" in own:
            second = torch.cat([second[: 2 * size], own["candidate_bias"]])
        found[f"weight_ih{end}"] = own["weight"].T
        found[f"weight_hh{end}"] = own["recurrent"].T
        found[f"bias_ih{end}"], found[f"bias_hh{end}"] = own["bias"], second
    return found


def recurrent(
    kind: str,
    w: Weights,
    x: Any,
    state: Any = None,
    mask: Any = None,
    *,
    layers: int = 1,
    bidirectional: bool = False,
) -> tuple[Any, list[Any]]:
    """Outputs, and the states at the end in our order: part by part, (output, cell) for LSTM."""
    directions = 2 if bidirectional else 1
    parts = layers * directions
    size = (part(w, "parts.0") if parts > 1 else w)["recurrent"].shape[0]
    module = getattr(torch.nn, kind)(
        x.shape[-1], size, layers, batch_first=True, bidirectional=bidirectional
    )
    begin = None
    if state is not None:
        states = state if parts > 1 else (state,)
        cells = list(zip(*states, strict=True)) if kind == "LSTM" else [states]
        begin = tuple(map(torch.stack, cells)) if kind == "LSTM" else torch.stack(cells[0])
    given = x
    if mask is not None:
        lengths = mask.sum(dim=1)
        given = torch.nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
    found, ends = run_module(module, _parameters(w, parts, directions), (given, begin))
    if mask is not None:
        found, _ = torch.nn.utils.rnn.pad_packed_sequence(
            found, batch_first=True, total_length=x.shape[1]
        )
    ends = ends if kind == "LSTM" else (ends,)
    return found, [end[number] for number in range(parts) for end in ends]


def _state(kind: str, parts: int) -> Any:
    one = [(normal(ROWS, SIZE), normal(ROWS, SIZE)) if kind == "LSTM" else normal(ROWS, SIZE)
           for _ in range(parts)]  # fmt: skip
    return tuple(one) if parts > 1 else one[0]


def _recurrent_cases(kind: str) -> dict[str, Case]:
    make, x = KINDS[kind], normal(ROWS, TIME, WIDTH)

    def outputs(w: Weights, x: Any, state: Any = None, mask: Any = None, **how: Any) -> Any:
        return recurrent(kind, w, x, state, mask, **how)[0]

    def both(w: Weights, x: Any, state: Any, mask: Any = None, **how: Any) -> Any:
        found, ends = recurrent(kind, w, x, state, mask, **how)
        return [found, *ends]

    def newest(w: Weights, x: Any, **how: Any) -> Any:
        _, ends = recurrent(kind, w, x, **how)
        heads = ends[:: 2 if kind == "LSTM" else 1]
        return torch.cat(heads[-2:], dim=-1) if how.get("bidirectional") else heads[-1]

    def backwards(w: Weights, x: Any) -> Any:
        return outputs(w, x.flip(1)).flip(1)

    def truncated(w: Weights, x: Any) -> Any:
        """Two steps at a time, each time from a state that is a constant."""
        state, found = None, []
        for piece in x.split(2, dim=1):
            outputs, ends = recurrent(kind, w, piece, state)
            ends = [end.detach() for end in ends]
            state = tuple(ends) if kind == "LSTM" else ends[0]
            found.append(outputs)
        return torch.cat(found, dim=1)

    stack = {"layers": 2, "bidirectional": True}
    return {
        kind: Case(make(SIZE), (x,), outputs),
        f"{kind}, a single step": Case(make(SIZE), (x[:, :1],), outputs),
        f"{kind}, from the end": Case(make(SIZE, reverse=True), (x,), backwards),
        f"{kind}, from a state": Case(make(SIZE), (x, _state(kind, 1)), both),
        f"{kind}, of unequal length": Case(
            make(SIZE), (x, _state(kind, 1), MASK), both
        ),
        f"{kind}, with checkpoints": Case(make(SIZE, checkpoint=2), (x,), outputs),
        f"{kind}, truncated": Case(make(SIZE, truncate=2), (x,), truncated),
        f"{kind}, last": Case(make(SIZE, last=True), (x,), newest),
        f"{kind}, three layers": Case(
            make(SIZE, layers=3), (x,), lambda w, x: outputs(w, x, layers=3)
        ),
        f"{kind}, both ways": Case(
            make(SIZE, bidirectional=True), (x,), lambda w, x: outputs(w, x, bidirectional=True)
        ),
        f"{kind}, stacked, both ways, from states, of unequal length": Case(
            make(SIZE, **stack),
            (x, _state(kind, 4), MASK),
            lambda w, x, state, mask: both(w, x, state, mask, **stack),
        ),
        f"{kind}, stacked, both ways, last": Case(
            make(SIZE, **stack, last=True), (x,), lambda w, x: newest(w, x, **stack)
        ),
    }  # fmt: skip


def _equilibrium(w: Weights, x: Any) -> Any:
    """Two hundred steps, written out: each halves the distance."""
    driven = dense({"weight": w["weight"], "bias": w["bias"]}, x)
    z = torch.zeros_like(driven)
    for _ in range(200):
        z = torch.tanh(driven + z @ w["recurrent"])
    return z


# --- attention ----------------------------------------------------------------------------------

PADDING = np.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1]], bool)
PAIRS = random.random((2, 5, 5)) < 0.6
PAIRS[:, :, 0] = True


def attention(
    w: Weights, x: Any, memory: Any = None, mask: Any = None, *, heads: int, causal: bool = False
) -> Any:
    """PyTorch's own layer; its masks say what may not be read."""
    source = x if memory is None else memory
    width, wide = x.shape[-1], source.shape[-1]
    biased = "query.bias" in w
    module = torch.nn.MultiheadAttention(
        width, heads, bias=biased, kdim=wide, vdim=wide, batch_first=True
    )
    parts = [part(w, name) for name in ("query", "key", "value")]
    given = {"out_proj.weight": w["output.weight"].T}
    if wide == width:
        given["in_proj_weight"] = torch.cat([p["weight"].T for p in parts])
    else:
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        given |= {name: p["weight"].T for name, p in zip(names, parts, strict=True)}
    if biased:
        given["in_proj_bias"] = torch.cat([p["bias"] for p in parts])
        given["out_proj.bias"] = w["output.bias"]
    closed = torch.ones(x.shape[1], source.shape[1], dtype=torch.bool).triu(1) if causal else None
    padding = None
    if mask is not None and mask.ndim == 2:
        padding = ~mask
    elif mask is not None:
        pairs = (~mask).repeat_interleave(heads, dim=0)
        closed = pairs if closed is None else pairs | closed
    how = {"key_padding_mask": padding, "attn_mask": closed, "need_weights": False}
    return run_module(module, given, (x, source, source), how)[0]


def _turned(x: Any) -> Any:
    """As numbers of the complex plane: the first half of a head is real, the second imaginary."""
    half = x.shape[-1] // 2
    rates = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * rates
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(
        torch.ones_like(angles), angles
    )
    return torch.cat([turned.real, turned.imag], dim=-1)


def rotary_attention(w: Weights, x: Any, *, heads: int) -> Any:
    """Causal, by PyTorch's product of attention."""
    split = [
        dense(part(w, name), x).unflatten(-1, (heads, -1)).transpose(1, 2)
        for name in ("query", "key", "value")
    ]
    query, key, value = _turned(split[0]), _turned(split[1]), split[2]
    read = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return dense(part(w, "output"), read.transpose(1, 2).flatten(-2))


def _attention_cases() -> dict[str, Case]:
    x, memory = normal(2, 5, 6), normal(2, 4, 6)
    other = normal(2, 5, 3)
    make = nn.MultiHeadAttention
    three: dict[str, Any] = {"heads": 3}

    def plain(w: Weights, *given: Any) -> Any:
        return attention(w, *given, **three)

    def causal(w: Weights, *given: Any) -> Any:
        return attention(w, *given, **three, causal=True)

    name = "MultiHeadAttention"
    return {
        name: Case(make(6, 3), (x,), plain),
        f"{name} of one head": Case(make(6, 1), (x,), lambda w, x: attention(w, x, heads=1)),
        f"{name} without bias": Case(make(6, 3, bias=False), (x,), plain),
        f"{name}, causal": Case(make(6, 3, causal=True), (x,), causal),
        f"{name} with padding": Case(make(6, 3), (x, None, PADDING), plain),
        f"{name} with pairs": Case(make(6, 3), (x, None, PAIRS), plain),
        f"{name}, causal, with padding": Case(make(6, 3, causal=True), (x, None, PADDING), causal),
        f"{name} to another": Case(make(6, 3), (x, memory), plain),
        f"{name} to another of another width, with padding": Case(
            make(6, 3), (x, other, PADDING), plain
        ),
        f"{name}, rotary": Case(
            make(8, 2, causal=True, rotary=True),
            (normal(2, 5, 8),),
            lambda w, x: rotary_attention(w, x, heads=2),
        ),
    }


# --- transformer blocks -------------------------------------------------------------------------


def _heads(w: Weights, name: str, path: str) -> dict[str, Any]:
    own = part(w, path)
    parts = [part(own, p) for p in ("query", "key", "value")]
    return {
        f"{name}.in_proj_weight": torch.cat([p["weight"].T for p in parts]),
        f"{name}.in_proj_bias": torch.cat([p["bias"] for p in parts]),
        f"{name}.out_proj.weight": own["output.weight"].T,
        f"{name}.out_proj.bias": own["output.bias"],
    }


def _block(w: Weights, norms: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for name, path in (("linear1", "expand"), ("linear2", "reduce")):
        found |= {f"{name}.weight": w[f"{path}.weight"].T, f"{name}.bias": w[f"{path}.bias"]}
    for number, path in enumerate(norms, start=1):
        found[f"norm{number}.weight"] = w[f"{path}.scale"]
        found[f"norm{number}.bias"] = w[f"{path}.shift"]
    return found


def encoder(
    w: Weights,
    x: Any,
    mask: Any = None,
    *,
    heads: int,
    causal: bool = False,
    activation: Any = F.gelu,
    norm_first: bool = True,
) -> Any:
    """In training, so that PyTorch takes no other way than its layers; it drops nothing."""
    hidden = w["expand.weight"].shape[1]
    module = torch.nn.TransformerEncoderLayer(
        x.shape[-1], heads, hidden, 0.0, activation, batch_first=True, norm_first=norm_first
    )
    given = _block(w, ("attention_norm", "hidden_norm")) | _heads(w, "self_attn", "attention")
    closed = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if causal else None
    how = {"src_mask": closed, "src_key_padding_mask": None if mask is None else ~mask}
    return run_module(module.train(), given, (x,), how)


def decoder(
    w: Weights,
    x: Any,
    memory: Any,
    mask: Any = None,
    memory_mask: Any = None,
    *,
    heads: int,
    norm_first: bool = True,
) -> Any:
    hidden = w["expand.weight"].shape[1]
    module = torch.nn.TransformerDecoderLayer(
        x.shape[-1], heads, hidden, 0.0, F.gelu, batch_first=True, norm_first=norm_first
    )
    given = _block(w, ("attention_norm", "cross_norm", "hidden_norm"))
    given |= _heads(w, "self_attn", "attention") | _heads(w, "multihead_attn", "cross")
    how = {
        "tgt_mask": torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1),
        "tgt_key_padding_mask": None if mask is None else ~mask,
        "memory_key_padding_mask": None if memory_mask is None else ~memory_mask,
    }
    return run_module(module.train(), given, (x, memory), how)


def _block_cases() -> dict[str, Case]:
    x, memory = normal(2, 5, 6), normal(2, 4, 6)
    make, to = nn.TransformerEncoderBlock, nn.TransformerDecoderBlock
    name, other = "TransformerEncoderBlock", "TransformerDecoderBlock"
    first = {"heads": 2, "norm_first": False}
    return {
        name: Case(make(6, 2), (x,), lambda w, x: encoder(w, x, heads=2)),
        f"{name}, causal, with padding": Case(
            make(6, 3, causal=True, hidden=7),
            (x, PADDING),
            lambda w, x, mask: encoder(w, x, mask, heads=3, causal=True),
        ),
        f"{name} of the paper": Case(
            make(6, 2, norm_first=False, activation=nn.relu),
            (x, PADDING),
            lambda w, x, mask: encoder(w, x, mask, activation=F.relu, **first),
        ),
        other: Case(to(6, 2), (x, memory), lambda w, x, m: decoder(w, x, m, heads=2)),
        f"{other} of the paper, with both masks": Case(
            to(6, 2, norm_first=False, hidden=9),
            (x, memory, PADDING, PADDING[:, :4]),
            lambda w, *given: decoder(w, *given, **first),
        ),
    }


# --- rows of symbols that are filled up ---------------------------------------------------------

FILLED = np.array([[3, 1, 2, 6, 4], [5, 2, 0, 0, 0], [1, 6, 4, 0, 0]])


def _embedded(w: Weights, symbols: Any) -> tuple[Any, Any]:
    return F.embedding(symbols, w["embedding.weight"]), symbols != 0


def _mean(x: Any, mask: Any) -> Any:
    """One row at a time, of its own places alone."""
    return torch.stack([row[kept].mean(dim=0) for row, kept in zip(x, mask, strict=True)])


def _padded_lstm(w: Weights, symbols: Any) -> Any:
    x, mask = _embedded(w, symbols)
    return _mean(recurrent("LSTM", part(w, "layers.0"), x, None, mask)[0], mask)


def _padded_block(w: Weights, symbols: Any) -> Any:
    x, mask = _embedded(w, symbols)
    return _mean(encoder(part(w, "layers.0"), x, mask, heads=2), mask)


def _padded_words(w: Weights, symbols: Any) -> Any:
    """A convolution of each row cut off where it ends, and the largest of each feature."""
    x, mask = _embedded(w, symbols)
    kernel = w["layers.0.weight"].permute(2, 1, 0)
    rows = []
    for row, kept in zip(x, mask, strict=True):
        made = F.conv1d(row[kept].T[None], kernel, w["layers.0.bias"], padding=1)
        rows.append(torch.relu(made).amax(dim=2)[0])
    return torch.stack(rows)


def _padded_cases() -> dict[str, Case]:
    def make(*layers: Any, **how: Any) -> Any:
        return nn.Padded(nn.Embedding(7, 6), layers, **how)

    words = make(nn.Conv1d(4, kernel=3, padding="same"), nn.relu, pool="max")
    return {
        "Padded": Case(make(nn.LSTM(SIZE)), (FILLED,), _padded_lstm),
        "Padded, attention": Case(make(nn.TransformerEncoderBlock(6, 2)), (FILLED,), _padded_block),
        "Padded, a convolution over words": Case(words, (FILLED,), _padded_words),
    }


# --- symbols and positions ----------------------------------------------------------------------

SYMBOLS = np.array([[1, 2, 1, 6], [0, 5, 3, 0]])


def sinusoids(w: Weights, x: Any) -> Any:
    """Sines at even places, cosines at odd ones."""
    width = x.shape[-1]
    place = torch.arange(x.shape[-2], dtype=torch.float64)[:, None]
    angle = place * 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    waves = torch.zeros(x.shape[-2:], dtype=torch.float64)
    waves[:, 0::2], waves[:, 1::2] = torch.sin(angle), torch.cos(angle)
    return x + waves


def _tied(w: Weights, x: Any) -> Any:
    table = w["embedding.weight"]
    return F.linear(dense(part(w, "inner"), F.embedding(x, table)), table)


def _residual(w: Weights, x: Any) -> Any:
    return x + F.gelu(dense(part(w, "inner.layers.1"), layer_norm(part(w, "inner.layers.0"), x)))


def _small_cases() -> dict[str, Case]:
    x = normal(2, 4, 6)
    return {
        "Dense": Case(nn.Dense(4), (x,), dense),
        "Flatten": Case(
            nn.Sequential(nn.Flatten(), nn.Dense(3)),
            (x,),
            lambda w, x: F.linear(x.flatten(1), w["layers.1.weight"].T, w["layers.1.bias"]),
        ),
        "Reshape": Case(
            nn.Sequential(nn.Reshape((3, 8)), nn.Dense(3)),
            (x,),
            lambda w, x: dense(part(w, "layers.1"), x.reshape(2, 3, 8)),
        ),
        "Embedding": Case(nn.Embedding(7, 3), (SYMBOLS,), lambda w, x: F.embedding(x, w["weight"])),
        "TiedEmbedding": Case(nn.TiedEmbedding(nn.Embedding(7, 4), nn.Dense(4)), (SYMBOLS,), _tied),
        "LearnedPositions": Case(
            nn.LearnedPositions(9), (x,), lambda w, x: x + w["table"][: x.shape[1]]
        ),
        "SinusoidalPositions": Case(nn.SinusoidalPositions(), (x,), sinusoids),
        "Residual": Case(
            nn.Residual(nn.Sequential(nn.LayerNorm(), nn.Dense(6), nn.gelu)), (x,), _residual
        ),
        "Frozen": Case(
            nn.Sequential(nn.Dense(4), nn.Frozen(nn.Dense(3)), np.tanh),
            (x,),
            lambda w, x: torch.tanh(
                dense(part(w, "layers.1.inner"), dense(part(w, "layers.0"), x))
            ),
        ),
        "Equilibrium": Case(
            nn.Equilibrium(5, tolerance=1e-14, strict=False, max_iterations=200),
            (normal(3, 4),),
            _equilibrium,
        ),
    }


CASES = {
    **{name: case for kind in KINDS for name, case in _recurrent_cases(kind).items()},
    **_attention_cases(),
    **_block_cases(),
    **_padded_cases(),
    **_small_cases(),
}
