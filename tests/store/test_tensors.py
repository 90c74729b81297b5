"""What is saved comes back bit for bit, or an error says which part of the file is damaged."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chainrule.errors import DamagedFileError, FileError, UsageError
from chainrule.store import inspect, load_tensors, save_tensors

DTYPES = "?bBhHiIqQefd"
ARRAYS = {
    "layers.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "layers.0.bias": np.array([0.5, -0.0, np.nan]),
    "count": np.array(7, dtype=np.int32),
    "mask": np.array([True, False]),
    "none": np.zeros((3, 0), dtype=np.float16),
}
INFO = {"net": "Sequential(3)", "best": None, "losses": [0.5, math.inf], "naïve": True}

same_folder = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150
)


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    """Equal names in equal order, equal types, shapes and bits."""
    return list(left) == list(right) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(left.values(), right.values(), strict=True)
    )


def native(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: array.astype(array.dtype.newbyteorder("=")) for name, array in arrays.items()}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    save_tensors(path, ARRAYS, INFO)
    return path


def raw_file(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header and the data of a file, to be put together again otherwise."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:begin]), content[begin:]


@same_folder
@given(
    array=hnp.arrays(
        st.sampled_from([np.dtype(order + code) for code in DTYPES for order in "<>"]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    layout=st.sampled_from(["as is", "transposed", "reversed", "every other", "Fortran"]),
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
def test_arrays_of_any_type_order_and_layout_come_back_bit_for_bit(
    array: Any, layout: str, name: str, tmp_path: Path
) -> None:
    views: dict[str, Callable[[], Any]] = {
        "as is": lambda: array,
        "transposed": lambda: array.T,
        "reversed": lambda: array[::-1] if array.ndim else array,
        "every other": lambda: array[..., ::2] if array.ndim else array,
        "Fortran": lambda: np.asfortranarray(array) if array.ndim else array,
    }
    arrays = {name: views[layout]()}
    save_tensors(tmp_path / "f", arrays, {})
    loaded, info = load_tensors(tmp_path / "f")
    assert same(loaded, native(arrays))
    assert info == {}
    assert loaded[name].flags.writeable


@pytest.mark.tiny
def test_names_types_shapes_bits_and_order_come_back(saved: Path) -> None:
    loaded, info = load_tensors(saved)
    assert same(loaded, ARRAYS)
    assert info == INFO


def test_nan_payloads_negative_zero_and_subnormals_keep_their_bits(tmp_path: Path) -> None:
    bits = np.array([0x7FC00001, 0xFFC12345, 0x7F800001, 0x80000000, 0x00000001], dtype=np.uint32)
    for order in "<>":
        save_tensors(tmp_path / "f", {"x": bits.view("f4").astype(order + "f4")}, {})
        loaded, _ = load_tensors(tmp_path / "f")
        np.testing.assert_array_equal(loaded["x"].view(np.uint32), bits)


def test_equal_contents_make_equal_files_in_any_process(saved: Path, tmp_path: Path) -> None:
    code = "import sys; sys.path[:0] = sys.argv[3:]; from chainrule.store import *; "
    code += "save_tensors(sys.argv[2], *load_tensors(sys.argv[1]))"
    for turn in range(3):
        again = tmp_path / f"again{turn}"
        subprocess.run([sys.executable, "-c", code, saved, again, *sys.path], check=True)
        assert again.read_bytes() == saved.read_bytes()


def test_other_tools_of_the_format_read_the_file(saved: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import load_file

    assert same(dict(sorted(load_file(saved).items())), dict(sorted(ARRAYS.items())))
    with safe_open(saved, framework="numpy") as file:
        assert list(file.metadata()) == ["chainrule"]


def test_inspect_tells_names_types_and_shapes_without_the_data(saved: Path) -> None:
    contents = inspect(saved)
    assert contents.info == INFO
    assert {n: (t.dtype, t.shape) for n, t in contents.tensors.items()} == {
        n: (a.dtype, a.shape) for n, a in ARRAYS.items()
    }
    assert list(contents.tensors) == list(ARRAYS)


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}], dtype=object),
        np.array(["text"]),
        np.zeros(2, dtype=np.complex128),
        np.zeros(2, dtype=[("a", "f4")]),
        np.zeros(2, dtype="datetime64[s]"),
        np.zeros(2, dtype=np.longdouble),
    ],
    ids=lambda array: str(array.dtype),
)
def test_an_array_that_a_file_cannot_hold_is_refused_by_name(array: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tensor 'odd' has the type"):
        save_tensors(tmp_path / "f", {"odd": array}, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["__metadata__", "\ud800", 3])
def test_a_name_that_a_file_cannot_hold_is_refused(name: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be saved under the name"):
        save_tensors(tmp_path / "f", {name: np.zeros(1)}, {})


@pytest.mark.parametrize("value", [{1, 2}, np.zeros(2), object()])
def test_a_description_that_is_not_json_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="JSON"):
        save_tensors(tmp_path / "f", {}, {"odd": value})


def test_every_flipped_bit_of_a_file_is_found(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    assert len(content) < 2000  # all of them are tried
    found = 0
    for bit in range(len(content) * 8):
        content[bit // 8] ^= 1 << bit % 8
        saved.write_bytes(content)
        try:
            loaded, info = load_tensors(saved)
        except DamagedFileError:
            found += 1
        else:  # a space that became a tab, say
            assert same(loaded, ARRAYS), bit
            assert info == INFO, bit
        content[bit // 8] ^= 1 << bit % 8
    assert found > 0.99 * len(content) * 8


@pytest.mark.parametrize("name", ["layers.0.weight", "layers.0.bias", "count", "mask"])
def test_a_flipped_bit_in_the_data_names_the_tensor(name: str, saved: Path) -> None:
    header, _ = parts(saved)
    content = bytearray(saved.read_bytes())
    begin = 8 + int.from_bytes(content[:8], "little")
    content[begin + header[name]["data_offsets"][1] - 1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(DamagedFileError, match=f"tensor '{name}' in net.safetensors is damaged"):
        load_tensors(saved)
    assert inspect(saved).info == INFO  # the description does not depend on the data


def test_a_file_cut_off_anywhere_is_found(saved: Path) -> None:
    content = saved.read_bytes()
    for length in range(len(content)):
        saved.write_bytes(content[:length])
        for read in (load_tensors, inspect):
            with pytest.raises(DamagedFileError):
                read(saved)


@pytest.mark.tiny
def test_a_file_cut_off_in_a_tensor_names_it(saved: Path) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[:-1])
    with pytest.raises(DamagedFileError, match="cut off: tensor 'mask' ends at byte"):
        load_tensors(saved)


@same_folder
@given(data=st.data())
def test_files_changed_at_random_are_found(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "f"
    save_tensors(path, ARRAYS, INFO)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(len(content), start + 20)))
        content[start:end] = data.draw(st.binary(max_size=20))
    path.write_bytes(content)
    try:
        loaded, info = load_tensors(path)
    except FileError:
        return
    assert same(loaded, ARRAYS)
    assert info == INFO


@same_folder
@given(content=st.binary(max_size=300), honest=st.booleans())
def test_bytes_that_are_no_tensors_are_damaged_files(
    content: bytes, honest: bool, tmp_path: Path
) -> None:
    path = tmp_path / "f"
    path.write_bytes((len(content).to_bytes(8, "little") if honest else b"") + content)
    with pytest.raises(DamagedFileError):
        load_tensors(path)


FLOATS = {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}
HEADERS: dict[str, Any] = {
    "a shape far larger than the file": {"x": FLOATS},
    "a shape that fits only in the header's own words": {
        "x": FLOATS | {"data_offsets": [0, 4]},
    },
    "a range before the file": {"x": FLOATS | {"shape": [1], "data_offsets": [-4, 0]}},
    "a backward range": {"x": FLOATS | {"shape": [0], "data_offsets": [4, 0]}},
    "one offset": {"x": FLOATS | {"data_offsets": [4]}},
    "no shape": {"x": {"dtype": "F32", "data_offsets": [0, 4]}},
    "a shape of floats": {"x": FLOATS | {"shape": [1.0], "data_offsets": [0, 4]}},
    "a shape of booleans": {"x": FLOATS | {"shape": [True], "data_offsets": [0, 4]}},
    "two negative sides": {"x": FLOATS | {"shape": [-1, -1], "data_offsets": [0, 4]}},
    "an empty shape too long for NumPy": {
        "x": FLOATS | {"shape": [0, 10**30], "data_offsets": [0, 0]},
    },
    "too many axes": {"x": FLOATS | {"shape": [1] * 65, "data_offsets": [0, 4]}},
    "an unknown type": {"x": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}},
    "a type that is no text": {"x": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}},
    "an entry that is no object": {"x": 3},
    "a list": [1, 2],
    "tensors that overlap": {
        "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "y": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    },
    "a gap between tensors": {
        "x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "y": {"dtype": "U8", "shape": [1], "data_offsets": [3, 4]},
    },
    "metadata that is no text": {"__metadata__": {"chainrule": 3}},
    "metadata that is no object": {"__metadata__": []},
    "a number of a million digits": b'{"x":' + b"9" * 10**6 + b"}",
    "brackets a million deep": b"[" * 10**6,
    "no UTF-8": b'{"\xff": 1}',
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_lies_is_found_before_anything_is_allocated(
    case: str, tmp_path: Path
) -> None:
    header = HEADERS[case]
    path = raw_file(tmp_path / "f", header, b"\0" * 4)
    envelope = described(["x"])
    if isinstance(header, dict) and "__metadata__" not in header:
        path = raw_file(tmp_path / "f", {"__metadata__": envelope, **header}, b"\0" * 4)
    if case == "an empty shape too long for NumPy":
        path = raw_file(tmp_path / "f", {"__metadata__": envelope, **header})
    tracemalloc.start()
    try:
        with pytest.raises(DamagedFileError):
            load_tensors(path)
        # The million bytes of the longest headers, a few times over, and nothing like 4 * 10^12.
        assert tracemalloc.get_traced_memory()[1] < 30 * 10**6
    finally:
        tracemalloc.stop()


def described(names: list[str], info: str = "{}", version: int = 1) -> dict[str, str]:
    """Our description of a file, with a checksum that is right for `info` alone."""
    checksum = hashlib.blake2b(f"{version} {info}".encode(), digest_size=16).hexdigest()
    envelope = {
        "version": version,
        "info": info,
        "info_checksum": checksum,
        "checksums": dict.fromkeys(names, "0" * 32),
    }
    return {"chainrule": json.dumps(envelope)}


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 10**12, 150_000_000])
def test_an_absurd_header_length_is_found_before_it_is_read(length: int, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(length.to_bytes(8, "little"))
    os.truncate(path, 200_000_000)  # a hole: no bytes on disk
    tracemalloc.start()
    try:
        with pytest.raises(DamagedFileError, match="its header claims"):
            load_tensors(path)
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_a_tensor_taken_out_or_put_in_is_named(saved: Path, tmp_path: Path) -> None:
    header, data = parts(saved)
    fewer = {name: entry for name, entry in header.items() if name != "none"}
    with pytest.raises(DamagedFileError, match="tensor 'none' in f is missing"):
        load_tensors(raw_file(tmp_path / "f", fewer, data))
    more = header | {"extra": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}
    with pytest.raises(DamagedFileError, match="tensor 'extra' in f has no checksum"):
        load_tensors(raw_file(tmp_path / "f", more, data))


def test_tensors_that_changed_places_are_found(tmp_path: Path) -> None:
    path = tmp_path / "f"
    save_tensors(path, {"a": np.zeros(2), "b": np.ones(2)}, {})
    header, data = parts(path)
    header["a"], header["b"] = header["b"], header["a"]
    with pytest.raises(DamagedFileError, match="tensor 'a' in f is damaged"):
        load_tensors(raw_file(path, header, data))


@pytest.mark.parametrize("entry", [{"shape": [3, 2]}, {"dtype": "I32"}])
def test_a_tensor_read_as_another_type_or_shape_is_found(entry: Any, saved: Path) -> None:
    header, data = parts(saved)
    header["layers.0.weight"] |= entry
    with pytest.raises(DamagedFileError, match=r"'layers.0.weight' in net.safetensors is damaged"):
        load_tensors(raw_file(saved, header, data))


@pytest.mark.parametrize(
    "envelope",
    ["", "{", "[]", "3", "{}", '{"version": "1"}', '{"version": 1, "info": 3, "checksums": {}}'],
)
def test_a_damaged_description_is_found(envelope: str, tmp_path: Path) -> None:
    path = raw_file(tmp_path / "f", {"__metadata__": {"chainrule": envelope}})
    with pytest.raises(DamagedFileError, match="the description in f is damaged"):
        load_tensors(path)


def test_a_changed_description_is_found(saved: Path) -> None:
    content = saved.read_bytes()
    assert content.count(b"Sequential(3)") == 1
    saved.write_bytes(content.replace(b"Sequential(3)", b"Sequential(4)"))
    for read in (load_tensors, inspect):
        with pytest.raises(DamagedFileError, match="the description"):
            read(saved)


def test_a_file_of_a_newer_chainrule_says_to_upgrade(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "f", {"__metadata__": described([], version=2)})
    with pytest.raises(FileError, match="upgrade chainrule") as caught:
        load_tensors(path)
    assert not isinstance(caught.value, DamagedFileError)


def test_a_foreign_safetensors_file_is_said_to_be_foreign(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(3)}, tmp_path / "f", metadata={"format": "pt"})
    with pytest.raises(DamagedFileError, match="not saved by chainrule"):
        load_tensors(tmp_path / "f")


def test_loading_runs_no_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    for content in (pickle.dumps(Trap()), b"\x93NUMPY" + pickle.dumps(Trap())):
        (tmp_path / "f").write_bytes(content)
        with pytest.raises(DamagedFileError):
            load_tensors(tmp_path / "f")
    assert not (tmp_path / "sprung").exists()


def test_a_missing_file_and_a_directory_are_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no file net"):
        load_tensors(tmp_path / "net")
    with pytest.raises(FileError, match="directory"):
        load_tensors(tmp_path)


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs /proc/self/mem")
def test_an_input_error_of_the_disk_is_a_file_error() -> None:
    # Its first page is never mapped, so that reading it answers EIO, as a bad sector does.
    with pytest.raises(FileError, match="disk reports an error"):
        load_tensors("/proc/self/mem")


def test_importing_the_room_does_not_import_safetensors() -> None:
    code = "import sys; sys.path[:0] = sys.argv[1:]; import chainrule.store; "
    code += "sys.exit('safetensors' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, *sys.path], check=True)
