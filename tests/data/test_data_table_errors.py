"""Tables that cannot be learned from, or predicted: each error says what, where and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from chainrule.data import TableEncoder, from_table, read_table
from chainrule.errors import DataError, UsageError

NUMBERS = "\n".join(f"{i}.5,{'ab'[i % 2]}" for i in range(50))


@pytest.fixture
def train(tmp_path: Path) -> Any:
    def train(content: str, target: str = "y", **settings: Any) -> TableEncoder:
        path = tmp_path / "t.csv"
        path.write_text(content)
        return from_table(read_table(path), target, validation=0, **settings)[1]

    return train


@pytest.mark.parametrize(
    ("content", "target", "said"),
    [
        ("x,species\n1,a\n2,b\n", "specie", "no column 'specie'.*\n.*\n.*mean 'species'"),
        ("x,y\n1,a\n2,b\n", "zzz", "where: columns: x, y"),
        ("x,y\n1,a\n2,a\n", "y", "the target 'y' has a single class, 'a'"),
        ("x,y\n1,7\n2,7\n", "y", "the target 'y' is 7 in every training row"),
        ("x,y\n1,a\n2,\n3,b\n4,\n", "y", "missing in 2 of 4 rows\n  where: lines 3, 5 of t.csv"),
        ("x,y\n1,1.5\n2,inf\n", "y", "'y' holds infinity in line 3"),
        ("x,y\n1,2020-01-01\n2,2020-01-02\n", "y", "the target 'y' holds dates"),
        ("x,y\n1,1.5\n2,1.5\n", "y", "is 1.5 in every training row"),
        ("x,y\n1,a\n2,b\ninf,b\n-inf,a\n", "y", "'x' holds infinity in lines 4, 5"),
        (f"x,y\n{NUMBERS}\nl2,a\n", "y", "'x' holds numbers, but in line 52 .* 'l2'"),
        (f"y,x\n{NUMBERS}\nl2,a\n", "y", "'y' holds numbers, but in line 52 .* 'l2'"),
        ("y\na\nb\n", "y", "no column to learn 'y' from\n.*no other column"),
        ("id,c,y\n1,k,a\n2,k,b\n", "y", "left out id: .*; left out c: one value"),
    ],
)
def test_a_table_that_cannot_be_learned_says_why(
    content: str, target: str, said: str, train: Any
) -> None:
    with pytest.raises(DataError, match=said):
        train(content, target)


def test_a_target_of_free_text_is_refused(train: Any) -> None:
    lines = "\n".join(f"{i},name {i}" for i in range(40))
    with pytest.raises(DataError, match="40 different texts in 40 rows"):
        train(f"x,y\n{lines}\n")


def test_a_task_that_the_target_cannot_have_is_refused(train: Any) -> None:
    with pytest.raises(DataError, match=r"'y' must hold numbers, and in line 3 .* text 'abc'"):
        train("x,y\n1,1.5\n2,abc\n", task="regression")
    with pytest.raises(DataError, match=r"is 1\.5 in line 2, which is no class label"):
        train("x,y\n1,1.5\n2,2.0\n", task="multiclass")
    with pytest.raises(DataError, match="3 classes, and the task 'binary'"):
        train("x,y\n1,a\n2,b\n3,c\n", task="binary")
    with pytest.raises(UsageError, match="did you mean 'binary'"):
        train("x,y\n1,a\n2,b\n", task="binry")


def test_errors_in_frames_count_rows_from_0() -> None:
    frame = pd.DataFrame({"x": [1.0, np.inf, 2.0], "y": ["a", "b", "a"]})
    with pytest.raises(DataError, match=r"infinity in row 1\n  where: .*rows are counted from 0"):
        from_table(frame, "y", validation=0)


def test_a_target_of_lists_is_refused() -> None:
    with pytest.raises(DataError, match="no numbers, text or booleans"):
        from_table(pl.DataFrame({"x": [1, 2], "y": [[1], [2]]}), "y")


TRAINED = (
    "age,sex,day,ok,y\n1,m,2020-01-01,true,a\n2,f,2020-05-05,false,b\n3,m,2021-02-02,true,a\n"
    "4,f,2022-03-03,false,b\n"
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("agee,sex,day,ok\n1,m,2020-01-01,true\n", "no column 'age'.*\n.*\n.*mean 'agee'"),
        ("age,sex,day,ok\n1,m,,\n\nabc,m,,\n", "'age' must hold numbers, and in line 4 .* 'abc'"),
        ("age,sex,day,ok\n1,m,01/02/2020,\n", "'day' must hold dates .* in line 2 .* '01/02/2020'"),
        ("age,sex,day,ok\n1,m,,maybe\n", "'ok' must hold true and false.* line 2 .* 'maybe'"),
        ("age,sex,day,ok\ninf,m,,\n", "'age' holds infinity in line 2"),
        ("age,sex,day,ok\n1,m,,\n1e300,m,,\n", "'age' is too far from .* in line 3"),
    ],
)
def test_a_table_that_cannot_be_predicted_says_where(
    content: str, said: str, train: Any, tmp_path: Path
) -> None:
    encoder = train(TRAINED)
    path = tmp_path / "new.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        encoder.encode(read_table(path))


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("age", ["41"], "'age' must hold numbers, and in row 0 it holds the text '41'"),
        ("day", [3.5], "'day' must hold dates .* the float 3.5"),
        ("ok", [7], "'ok' must hold true and false, .* the int 7"),
        ("age", [[1, 2]], "'age' must hold numbers, .* the list"),
    ],
)
def test_a_frame_with_another_type_says_the_value(
    column: str, values: list[Any], said: str, train: Any
) -> None:
    encoder = train(TRAINED)
    good: dict[str, Any] = {"age": [1], "sex": ["m"], "day": [None], "ok": [True]}
    with pytest.raises(DataError, match=said):
        encoder.encode(pl.DataFrame({**good, column: values}))


def test_types_that_hold_the_same_values_are_accepted(train: Any) -> None:
    """Flags as 0 and 1, whole numbers where text was trained on, columns without any value."""
    encoder = train("a,b,c,y\n1,true,1,p\n2,false,z,q\n3,true,1,p\n4,false,z,q\n")
    texts = encoder.encode(pl.DataFrame({"a": [1.0], "b": [True], "c": ["1"]}))
    others = encoder.encode(pl.DataFrame({"a": [1], "b": [1], "c": [1]}))
    np.testing.assert_array_equal(texts, others)
    encoder.encode(pl.DataFrame({"a": [None], "b": [None], "c": [None]}))


def test_a_target_that_was_not_trained_on_is_refused(train: Any) -> None:
    encoder = train(TRAINED)
    frame = pl.DataFrame({"y": ["a", "z", "b"]})
    with pytest.raises(DataError, match="is 'z' in row 1, which is not one of its classes"):
        encoder.encode_target(frame)
    with pytest.raises(DataError, match="missing in 1 of 2 rows"):
        encoder.encode_target(pl.DataFrame({"y": ["a", None]}))
    with pytest.raises(DataError, match="no column 'y'"):
        encoder.encode_target(pl.DataFrame({"x": ["a"]}))
