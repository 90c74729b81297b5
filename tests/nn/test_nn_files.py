"""Saved nets: the same bits back, no code from files, and damage that is named."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from architectures import NETS
from chainrule import nn
from chainrule.errors import DamagedFileError, FileError, UsageError
from chainrule.nn.registry import FUNCTIONS, LAYERS
from chainrule.store import load_tensors, save_tensors
from chainrule.tracing.trees import leaves

random = np.random.default_rng(0)


@dataclass(frozen=True)
class Scale(nn.Layer):
    """A user's own layer."""

    width: int
    gain: np.ndarray | None = None

    def fill(self, draw: Any, *inputs: Any) -> Any:
        return self.replace(gain=draw("gain", "ones", (self.width,)))

    def check(self) -> None:
        if self.width > 100:
            raise UsageError("too wide")

    def forward(self, x: Any) -> Any:
        return x * self.gain


EVERYTHING = nn.Sequential(
    nn.Embedding(7, 3),
    nn.Flatten(),
    nn.Dense(8, weight_init="he_normal"),
    nn.gelu,
    nn.Residual(nn.Sequential(nn.LayerNorm(eps=1e-6), nn.Dense(8, bias=False), np.tanh)),
    nn.BatchNorm(momentum=0.5),
    nn.Dropout(0.25),
    partial(nn.leaky_relu, slope=0.2),
    nn.Residual(nn.softplus),
    nn.Dense(2, weight_init=nn.initialisers.normal(0.1)),
)
AUGMENTED = nn.Sequential(
    nn.RandomShift(2), nn.RandomCrop(4, 3), nn.RandomFlip(0.25), nn.Noise(0.5), nn.Cutout(3)
)
X = np.array([[1, 2, 1], [0, 6, 3]])


def same_bits(a: Any, b: Any) -> bool:
    first, second = leaves(a), leaves(b)
    return [leaf.name for leaf in first] == [leaf.name for leaf in second] and all(
        p.value.dtype == q.value.dtype and p.value.tobytes() == q.value.tobytes()
        for p, q in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_saved_net_comes_back_bit_for_bit(tmp_path: Path, dtype: Any) -> None:
    """Settings, functions, weights and running statistics."""
    net = nn.init(EVERYTHING, X, seed=4, dtype=dtype)
    net = cr.tracing.trees.map_leaves(lambda a: a + dtype(random.uniform()), net)
    path = cr.save(tmp_path / "net", net)
    back = cr.load(tmp_path / "net")
    assert path == tmp_path / "net.safetensors"
    assert same_bits(net, back)
    assert str(back) == str(net)
    assert np.array_equal(back(X), net(X))
    assert back.layers[5].momentum == 0.5
    assert back.layers[9].weight_init.keywords == {"std": 0.1}


def test_every_layer_and_function_of_the_list_can_be_saved(tmp_path: Path) -> None:
    """Here, or net by net in test_nn_architectures.py."""
    saved = [*_layers(EVERYTHING), *_layers(AUGMENTED), *_layers([n for n, _ in NETS.values()])]
    assert {type(layer).__name__ for layer in saved} == set(LAYERS)
    assert str(cr.load(cr.save(tmp_path / "augmented", AUGMENTED))) == str(AUGMENTED)
    for name, function in FUNCTIONS.items():
        back = nn.from_json(json.loads(json.dumps(nn.to_json(nn.Sequential(function)))), {})
        assert back.layers[0] is function, name


def _layers(net: Any) -> list[Any]:
    return [layer for _, layer in cr.tracing.trees.layer_paths(net)]


def test_nets_before_their_weights_and_trees_of_nets_can_be_saved(tmp_path: Path) -> None:
    back = cr.load(cr.save(tmp_path / "empty", EVERYTHING))
    assert str(back) == str(EVERYTHING)
    pair = {"encoder": nn.init(nn.Dense(3, 2)), "rates": [0.5, None], "decoder": (nn.Dense(2, 3),)}
    back = cr.load(cr.save(tmp_path / "pair", pair))
    assert same_bits(pair["encoder"], back["encoder"])
    assert back["rates"] == [0.5, None]
    assert str(back["decoder"]) == "(Dense(2, 3),)"


def test_paths(tmp_path: Path) -> None:
    """A path without a suffix gets .safetensors; one with a suffix stays."""
    net = nn.init(nn.Dense(2, 2))
    assert cr.save(str(tmp_path / "a.net"), net).name == "a.net"
    assert same_bits(cr.load(tmp_path / "a.net"), net)
    with pytest.raises(FileError, match=r"no file missing\.safetensors"):
        cr.load(tmp_path / "missing")
    with pytest.raises(UsageError, match="names no file"):
        cr.save("", net)


# --- users' own layers ----------------------------------------------------------------------


def test_own_layers_are_loaded_only_when_their_class_is_given(tmp_path: Path) -> None:
    net = nn.init(nn.Sequential(nn.Dense(2, 3), Scale(3)))
    path = cr.save(tmp_path / "own", net)
    assert same_bits(cr.load(path, layers=[Scale]), net)
    with pytest.raises(UsageError) as caught:
        cr.load(path)
    assert "layers.1 is a layer of class 'Scale', which is not one of cr.nn's" in str(caught.value)
    assert "layers=[Scale]" in str(caught.value)
    assert str(path) in str(caught.value)


def test_two_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Dense(nn.Layer):
        def forward(self, x: Any) -> Any:
            return x

    @dataclass(frozen=True)
    class Other(nn.Layer):
        def forward(self, x: Any) -> Any:
            return x

    another = dataclass(frozen=True)(type("Other", (nn.Layer,), {"forward": Other.forward}))
    with pytest.raises(UsageError, match=r"layers.0 is of a class Dense, as is another"):
        cr.save(tmp_path / "net", nn.Sequential(Dense()))
    with pytest.raises(UsageError, match=r"layers.1 is of a class Other, as is another"):
        cr.save(tmp_path / "net", nn.Sequential(Other(), another()))
    path = cr.save(tmp_path / "net", nn.init(nn.Dense(2, 2)))
    with pytest.raises(UsageError, match="two layer classes have the name Dense"):
        cr.load(path, layers=[Dense])
    with pytest.raises(UsageError, match=r"layers holds .*, which is not a layer class"):
        cr.load(path, layers=[nn.relu])
    assert cr.load(path, layers=[nn.Dense, Other]).outputs == 2


def test_a_name_from_a_file_is_never_imported(tmp_path: Path) -> None:
    """Names of modules, of builtins and of classes elsewhere are just unknown names."""
    before = set(sys.modules)
    for name in ("os.system", "chainrule.nn.compose.Sequential", "eval", "this", "__import__"):
        with pytest.raises(UsageError, match=r"not one of cr\.nn's"):
            nn.from_json({"layer": name, "fields": {}}, {})
        with pytest.raises(DamagedFileError, match=r"which is not one of cr\.nn's"):
            nn.from_json({"function": name}, {})
    assert "this" not in set(sys.modules) - before


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (lambda x: x, "<lambda>"),
        (np.linalg.norm, "norm"),
        (partial(nn.elu, 2.0), "partial"),
        (partial(nn.leaky_relu, slope=np.ones(3)), "leaky_relu"),
    ],
)
def test_functions_that_a_file_cannot_hold_are_named_when_saving(
    tmp_path: Path, part: Any, name: str
) -> None:
    with pytest.raises(UsageError) as caught:
        cr.save(tmp_path / "net", nn.Sequential(nn.Dense(2, 2), part))
    assert f"layers.1 is the function {name}, which a file cannot hold" in str(caught.value)
    assert "write a layer for it" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_other_values_that_a_file_cannot_hold_are_named(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Odd(nn.Layer):
        options: Any

    with pytest.raises(UsageError, match=r"layers\.0\.options is a set, which a file cannot hold"):
        cr.save(tmp_path / "net", nn.Sequential(Odd({1, 2})))


# --- damage ---------------------------------------------------------------------------------

NET = nn.init(nn.Sequential(nn.Dense(2, 3), nn.relu, nn.BatchNorm(3)))


def tampered(tmp_path: Path, change: Any) -> Path:
    """A file with right checksums and wrong contents."""
    arrays, info = load_tensors(cr.save(tmp_path / "net", NET))
    change(arrays, info["net"])
    save_tensors(tmp_path / "net.safetensors", arrays, info)
    return tmp_path / "net.safetensors"


def _rename(arrays: Any, net: Any) -> None:
    arrays["layers.0.weights"] = arrays.pop("layers.0.weight")


def _first(net: Any) -> Any:
    return net["fields"]["layers"]["tuple"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_rename, "the array layers.0.weight is missing"),
        (lambda a, n: a.pop("layers.2.running_var"), "the array layers.2.running_var is missing"),
        (lambda a, n: a.update(extra=np.zeros(2)), "it holds the array extra, which no layer has"),
        (
            lambda a, n: a.update({"layers.0.weight": np.zeros((2, 3))}),
            r"layers.0.weight is float64 of shape \(2, 3\), not float32 of shape \(2, 3\)",
        ),
        (
            lambda a, n: a.update({"layers.0.weight": np.zeros((3, 2), np.float32)}),
            r"layers.0.weight is float32 of shape \(3, 2\), not float32 of shape \(2, 3\)",
        ),
        (
            lambda a, n: _first(n)["fields"].update(outputs=4),
            r"layers.0 is not a valid Dense: Dense: weight has shape \(2, 3\), expected \(2, 4\)",
        ),
        (
            lambda a, n: _first(n)["fields"].update(outputs=[4]),
            "layers.0 is not a valid Dense: Dense: outputs must be a whole number",
        ),
        (lambda a, n: _first(n)["fields"].update(colour=1), r"\(Dense\) has no field 'colour'"),
        (lambda a, n: _first(n)["fields"].pop("inputs"), "layers.0.inputs is missing"),
        (lambda a, n: _first(n).pop("fields"), "what it says of layers.0 is not understood"),
        (lambda a, n: n["fields"].update(layers=3), "the net is not a valid Sequential"),
        (
            lambda a, n: n["fields"]["layers"]["tuple"].append({"function": "system"}),
            "layers.3 is the function 'system', which is not one of cr.nn's",
        ),
        (
            lambda a, n: n["fields"]["layers"]["tuple"].append(
                {"function": "elu", "settings": [[1]]}
            ),
            "the settings of layers.3 are not understood",
        ),
    ],
)
def test_contents_that_are_no_net_are_named(tmp_path: Path, change: Any, message: str) -> None:
    path = tampered(tmp_path, change)
    with pytest.raises(DamagedFileError, match=message) as caught:
        cr.load(path)
    assert str(path) in str(caught.value)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x.safetensors", {"a": np.zeros(2)}, {"step": 3})
    with pytest.raises(DamagedFileError, match=r"x\.safetensors holds no net"):
        cr.load(tmp_path / "x")
    (tmp_path / "y.safetensors").write_bytes(b"hello")
    with pytest.raises(DamagedFileError):
        cr.load(tmp_path / "y")


def test_deep_nesting_is_damage_not_a_crash() -> None:
    nested: Any = 0
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(DamagedFileError, match="nested too deeply"):
        nn.from_json(nested, {})


def test_a_field_that_was_added_later_has_its_default(tmp_path: Path) -> None:
    """Files of before the field existed still load."""
    path = tampered(tmp_path, lambda a, n: _first(n)["fields"].pop("bias_init"))
    assert cr.load(path).layers[0].bias_init == "zeros"


def test_own_checks_run_when_a_file_is_read() -> None:
    with pytest.raises(DamagedFileError, match="the net is not a valid Scale: too wide"):
        nn.from_json({"layer": "Scale", "fields": {"width": 101}}, {}, layers=[Scale])
