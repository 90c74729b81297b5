"""Folders of pictures: classes, sizes, kinds of pixels, and what cannot be read."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chainrule.cli import main
from chainrule.data import ImageEncoder, ImageFolder, encoder_from_json, fingerprint
from chainrule.data.pictures import read_picture
from chainrule.errors import DamagedFileError, DataError, FileError, ShapeError, UsageError

RNG = np.random.default_rng(4)


def picture(path: Path, pixels: np.ndarray | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = RNG.integers(0, 256, (4, 6), np.uint8) if pixels is None else pixels
    Image.fromarray(values).save(path, **options)
    return path


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """8 dark cats and 8 light dogs, 6 x 4 pixels, grey."""
    folder, rng = tmp_path / "pets", np.random.default_rng(1)
    for i in range(8):
        noise = rng.integers(0, 60, (4, 6))
        picture(folder / "cat" / f"{i}.png", noise.astype(np.uint8))
        picture(folder / "dog" / f"{i}.png", (noise + 180).astype(np.uint8))
    return folder


def test_each_sub_folder_is_a_class(pets: Path) -> None:
    dataset, encoder, train_rows, held_out_rows = ImageFolder(pets).parts(None, 0)
    assert (dataset.x.shape, dataset.x.dtype) == ((16, 4, 6, 1), np.float32)
    assert (dataset.classes, dataset.task) == (("cat", "dog"), "binary")
    assert dataset.row_names[8] == "dog/0.png"
    assert dataset.y.tolist() == [0] * 8 + [1] * 8
    assert (len(train_rows), len(held_out_rows)) == (13, 3)
    raw = np.asarray(Image.open(pets / "dog" / "3.png"))
    np.testing.assert_array_equal(np.rint(dataset.x[11, ..., 0] * 255), raw)
    assert encoder.describe() == "pets: 16 pictures, 6 x 4 pixels, grey -> 2 classes: cat, dog"
    assert encoder.notes() == ()


def test_the_same_folder_gives_the_same_rows(pets: Path) -> None:
    first, second = (ImageFolder(pets).parts(None, 0).dataset for _ in range(2))
    assert fingerprint(first) == fingerprint(second)
    (pets / "cat" / "0.png").unlink()
    assert fingerprint(ImageFolder(pets).parts(None, 0).dataset) != fingerprint(first)


def test_train_and_test_folders_are_the_split(pets: Path) -> None:
    whole = pets.parent / "whole"
    (whole / "test").mkdir(parents=True)
    pets.rename(whole / "train")
    for i in range(2):
        picture(whole / "test" / "cat" / f"{i}.png")
        picture(whole / "test" / "dog" / f"{i}.png")
    parts = ImageFolder(whole).parts(None, 0)
    assert parts.dataset.classes == ("cat", "dog")
    assert parts.held_out_rows.tolist() == [16, 17, 18, 19]
    assert "held out: the 4 pictures of test/" in parts.encoder.notes()
    picture(whole / "test" / "bird" / "0.png")
    with pytest.raises(DataError, match="bird"):
        ImageFolder(whole).parts(None, 0)


def test_the_classes_may_be_in_a_folder_named_train_alone(pets: Path) -> None:
    for kind in ("cat", "dog"):
        picture(pets.parent / "zoo" / "train" / kind / "0.png")
    dataset = ImageFolder(pets.parent / "zoo").parts(0, 0).dataset
    assert dataset.classes == ("cat", "dog")
    assert dataset.row_names == ("train/cat/0.png", "train/dog/0.png")


def test_unequal_sizes_name_two_files_and_the_option(pets: Path) -> None:
    picture(pets / "cat" / "odd.png", np.zeros((5, 9), np.uint8))
    with pytest.raises(DataError, match=r"odd\.png is 9 x 5 pixels") as caught:
        ImageFolder(pets).parts(None, 0)
    assert "--image-size" in str(caught.value)
    dataset = ImageFolder(pets, size=8).parts(None, 0).dataset
    assert dataset.x.shape == (17, 8, 8, 1)


def test_scaling_covers_the_box_and_cuts_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200
    path = picture(tmp_path / "wide.png", wide)
    pixels = read_picture(path, (10, 10)).pixels
    assert pixels.shape == (10, 10, 1)
    assert (pixels == 200).all()


RED = np.full((4, 6, 3), (200, 10, 30), np.uint8)


def _palette(path: Path) -> None:
    Image.fromarray(RED).convert("P", palette=Image.Palette.ADAPTIVE).save(path)


def _alpha(path: Path) -> None:
    half = np.concatenate([RED, np.full((4, 6, 1), 0, np.uint8)], axis=2)
    Image.fromarray(half, "RGBA").save(path)


def _grey_alpha(path: Path) -> None:
    Image.fromarray(np.zeros((4, 6, 2), np.uint8), "LA").save(path)


def _deep(path: Path) -> None:
    Image.fromarray(np.full((4, 6), 51 * 256 + 7, np.uint16)).save(path)


def _bits(path: Path) -> None:
    Image.fromarray(np.ones((4, 6), np.uint8) * 255).convert("1").save(path)


def _cmyk(path: Path) -> None:
    Image.fromarray(RED).convert("CMYK").save(path.with_suffix(".tif"))
    path.with_suffix(".tif").rename(path)


@pytest.mark.parametrize(
    ("write", "channels", "value", "done"),
    [
        (_palette, 3, 200, ()),
        (_alpha, 3, 255, ("alpha over white",)),
        (_grey_alpha, 1, 255, ("alpha over white",)),
        (_deep, 1, 51, ("16 to 8 bits",)),
        (_bits, 1, 255, ()),
        (_cmyk, 3, 200, ()),
    ],
)
@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_every_kind_of_pixel_becomes_grey_or_colour(
    tmp_path: Path, write: Callable[[Path], None], channels: int, value: int, done: tuple[str, ...]
) -> None:
    path = tmp_path / "a.png"
    write(path)
    found = read_picture(path)
    assert found.pixels.shape == (4, 6, channels)
    assert abs(int(found.pixels[0, 0, 0]) - value) <= 1
    assert found.done == done


def test_a_photograph_is_turned_as_its_tag_says(tmp_path: Path) -> None:
    flat = np.zeros((4, 6), np.uint8)
    flat[:, :2] = 250
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the left of the picture is its top
    path = picture(tmp_path / "a.png", flat, exif=exif)
    found = read_picture(path)
    assert found.done == ("turned",)
    assert found.pixels.shape == (6, 4, 1)
    assert (found.pixels[:2] == 250).all()
    assert (found.pixels[2:] == 0).all()


def test_one_colour_picture_makes_all_of_three_channels(pets: Path) -> None:
    picture(pets / "cat" / "red.png", RED)
    dataset, encoder, *_ = ImageFolder(pets).parts(None, 0)
    assert dataset.x.shape == (17, 4, 6, 3)
    assert encoder.notes() == ("pictures: 16 grey ones in three channels",)


@pytest.mark.parametrize("content", [b"", b"not a picture", "half"])
def test_an_unreadable_picture_is_named_or_left_out(pets: Path, content: bytes | str) -> None:
    path = pets / "dog" / "bad.png"
    whole = (pets / "dog" / "1.png").read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with pytest.raises(DataError, match=r"dog/bad\.png cannot be read") as caught:
        ImageFolder(pets).parts(None, 0)
    assert "--skip-unreadable" in str(caught.value)
    assert "'it'" not in str(caught.value)
    dataset, encoder, *_ = ImageFolder(pets, unreadable="skip").parts(None, 0)
    assert dataset.rows == 16
    assert "bad.png" in encoder.notes()[0]


def test_a_class_of_unreadable_pictures_is_an_error_even_when_they_are_skipped(pets: Path) -> None:
    (pets / "eel").mkdir()
    (pets / "eel" / "0.png").write_bytes(b"?")
    with pytest.raises(DataError, match="eel"):
        ImageFolder(pets, unreadable="skip").parts(None, 0)


def test_folders_that_cannot_be_learned_from(pets: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no folder"):
        ImageFolder(tmp_path / "nowhere").parts(None, 0)
    (pets / "eel").mkdir()
    with pytest.raises(DataError, match="eel has no picture in it") as caught:
        ImageFolder(pets).parts(None, 0)
    assert "it is empty" in str(caught.value)
    (pets / "eel" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="eel has no picture in it"):
        ImageFolder(pets).parts(None, 0)
    with pytest.raises(DataError, match="no sub-folders"):
        ImageFolder(pets / "cat").parts(None, 0)
    alone = tmp_path / "alone"
    picture(alone / "cat" / "0.png")
    with pytest.raises(DataError, match="single class, 'cat'"):
        ImageFolder(alone).parts(None, 0)


def test_other_files_are_counted_and_hidden_ones_are_not_seen(pets: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "._0.png"):
        (pets / "cat" / name).write_bytes(b"x")
    (pets / ".git").mkdir()
    (pets / "cat" / "notes.txt").write_text("x")
    dataset, encoder, *_ = ImageFolder(pets).parts(None, 0)
    assert dataset.rows == 16
    assert encoder.notes() == ("ignored 1 file that is no picture (.txt)",)


def test_pictures_in_no_folder_of_a_class_are_counted(pets: Path) -> None:
    """Beside the classes, and beside those of a test folder."""
    picture(pets / "a.png")
    assert ImageFolder(pets).parts(None, 0).encoder.notes() == (
        "left out 1 picture in no folder of a class (a.png)",
    )
    for part in ("train", "test"):
        picture(pets.parent / "split" / part / "cat" / "0.png")
        picture(pets.parent / "split" / part / "dog" / "0.png")
        picture(pets.parent / "split" / part / f"{part}.png")
    *_, note = ImageFolder(pets.parent / "split").parts(None, 0).encoder.notes()
    assert note == "left out 2 pictures in no folder of a class (train.png, ...)"


@pytest.mark.parametrize("size", [0, (3,), (0, 4), (1, 2, 3), "28", (2.5, 3)])
def test_a_size_is_two_whole_numbers(size: object) -> None:
    with pytest.raises(UsageError):
        ImageFolder("pets", size=size)  # type: ignore[arg-type]


def test_the_encoder_comes_back_from_json_and_reads_alike(pets: Path) -> None:
    dataset, encoder, *_ = ImageFolder(pets, size=(5, 7)).parts(None, 0)
    again = encoder_from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
    read = again.read(pets, [])
    np.testing.assert_array_equal(read.x, dataset.x)
    assert read.labels["file"][8] == str(pets / "dog" / "0.png")
    one = again.read(str(pets / "dog" / "0.png"), [])
    np.testing.assert_array_equal(one.x, dataset.x[8:9])
    damaged = encoder.to_json() | {"channels": 2}
    with pytest.raises(DamagedFileError, match="channels"):
        encoder_from_json(damaged)
    with pytest.raises(DamagedFileError, match="kind"):
        encoder_from_json({"kind": "smells"})


def test_what_is_predicted_must_fit(pets: Path) -> None:
    encoder = ImageFolder(pets).parts(None, 0).encoder
    assert isinstance(encoder, ImageEncoder)
    odd = picture(pets.parent / "odd.png", np.zeros((5, 9), np.uint8))
    with pytest.raises(DataError, match="9 x 5 pixels, and the network takes 6 x 4"):
        encoder.read(odd, [])
    notes: list[str] = []
    red = encoder.read(picture(pets.parent / "red.png", RED), notes)
    assert notes == ["1 of 1 pictures are in colour; read as grey"]
    assert round(float(red.x[0, 0, 0, 0] * 255)) == 69  # 0.299 * 200 + 0.587 * 10 + 0.114 * 30
    _deep(pets.parent / "deep.png")
    encoder.read(pets.parent / "deep.png", notes)
    assert notes[1:] == ["pictures: 1 of 16 bits, taken as 8"]
    assert encoder.read(np.full((2, 4, 6), 51, np.uint8), []).x.mean() == np.float32(0.2)
    with pytest.raises(ShapeError):
        encoder.read(np.zeros((2, 6, 4), np.uint8), [])
    with pytest.raises(FileError):
        encoder.read("nowhere.png", [])
    with pytest.raises(UsageError):
        encoder.read(3, [])


def test_the_extra_is_named_where_pillow_is_missing(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match="Pillow") as caught:
        ImageFolder(pets).parts(None, 0)
    assert "chainrule[images]" in str(caught.value)


def test_the_commands_train_resume_predict_and_explain(
    pets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(pets.parent)
    options = "--epochs 200 --learning-rate 0.01 --patience off --run-dir run --json"
    assert main(["train", "pets", *options.split()]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["metrics"]["accuracy"] == 1
    assert main("train --resume run --epochs 201 --quiet".split()) == 0
    capsys.readouterr()
    assert main("predict run pets --json".split()) == 0
    columns = json.loads(capsys.readouterr().out)["columns"]
    assert columns["class"] == ["cat"] * 8 + ["dog"] * 8
    (pets / "dog" / "bad.png").write_bytes(b"?")
    assert main("predict run pets".split()) == 1
    assert "bad.png" in capsys.readouterr().err
    assert main("predict run pets --skip-unreadable --output out.csv".split()) == 0
    rows = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    assert rows[0]["file"] == "pets/cat/0.png"
    assert main("explain run --row 2".split()) == 1  # bad.png
    (pets / "dog" / "bad.png").unlink()
    capsys.readouterr()
    for row, inks in ((2, " .:-="), (12, "+*#%@")):  # a dark cat, a light dog
        assert main(f"explain run --row {row}".split()) == 0
        picture = capsys.readouterr().out.split("target ")[1].split("\n\n")[1]
        assert len(picture.split("\n")) == 4
        assert set(picture) <= set(inks + " \n")


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        ("train pets --image-size 0", 2, "--image-size"),
        ("train pets --target class", 2, "target"),
        ("train digits --image-size 8", 2, "--image-size"),
        ("train empty", 1, "nothing to learn from"),
        ("train pets/cat/0.png", 2, "a folder with a sub-folder for each class"),
        ("train animals/", 1, "no file or folder animals/"),
        ("predict run nowhere.png", 1, "nowhere.png"),
    ],
)
def test_mistakes_are_told(
    pets: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    code: int,
    part: str,
) -> None:
    monkeypatch.chdir(pets.parent)
    Path("empty").mkdir()
    if "run" in words:
        assert main("train pets --epochs 1 --run-dir run --quiet".split()) == 0
    assert main(words.split()) == code
    assert part in capsys.readouterr().err
