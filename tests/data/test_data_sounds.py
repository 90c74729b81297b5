"""Sounds: features by their formulas, other rates, folders by class, and what cannot be read."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy import signal

import chainrule as cr
from chainrule import nn
from chainrule.cli import main
from chainrule.data import LogMel, SoundEncoder, SoundFolder, encoder_from_json, fingerprint
from chainrule.data.log_mel import FLOOR, hann, hertz, mel, mel_bank, resampled
from chainrule.errors import DamagedFileError, DataError, FileError, ShapeError, UsageError


def tone(frequency: float, seconds: float, rate: int = 8000) -> np.ndarray:
    return np.asarray(0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate))


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """10 low and 10 high tones of 0.1 to 0.28 s, 8 kHz."""
    folder, noise = tmp_path / "clips", np.random.default_rng(8)
    for kind, frequency in (("low", 300), ("high", 1500)):
        (folder / kind).mkdir(parents=True)
        for i in range(10):
            samples = tone(frequency + 10 * i, 0.1 + 0.02 * i)
            samples += noise.normal(0, 0.01, len(samples))
            soundfile.write(folder / kind / f"{i}.wav", samples, 8000)
    return folder


# --- features -------------------------------------------------------------------------------


def test_the_mel_scale_and_back() -> None:
    assert float(mel(1000)) == pytest.approx(1000, rel=1e-3)  # by its definition
    frequencies = np.array([0.0, 40, 700, 8000])
    np.testing.assert_allclose(hertz(mel(frequencies)), frequencies, atol=1e-9)


def test_the_window_is_another_library_s() -> None:
    np.testing.assert_allclose(hann(25), signal.windows.hann(25, sym=False), atol=1e-12)


def test_bands_are_triangles_that_add_up_to_one() -> None:
    bank = mel_bank(8000, 256, 20)
    assert bank.shape == (129, 20)
    edges = hertz(np.linspace(0, float(mel(4000)), 22))
    frequencies = np.arange(129) * 8000 / 256
    inside = (frequencies >= edges[1]) & (frequencies <= edges[-2])
    np.testing.assert_allclose(bank[inside].sum(axis=1), 1, atol=1e-12)
    assert bank.max() <= 1
    for band in range(20):
        outside = (frequencies <= edges[band]) | (frequencies >= edges[band + 2])
        assert not bank[outside, band].any()


def test_features_are_what_a_plain_loop_gives() -> None:
    features = LogMel(8000, 200, 80, 26)
    samples = np.random.default_rng(3).normal(0, 0.1, 1000)
    found = features(samples)
    assert found.shape == (features.frames(1000), 26) == (11, 26)
    bank, window = mel_bank(8000, 256, 26), hann(200)
    for frame in range(11):
        piece = np.zeros(256)
        piece[:200] = samples[80 * frame : 80 * frame + 200] * window
        turns = np.exp(-2j * np.pi * np.outer(np.arange(129), np.arange(256)) / 256)
        power = np.abs(turns @ piece) ** 2 * (2 / window.sum()) ** 2
        np.testing.assert_allclose(found[frame], np.log(np.maximum(power @ bank, FLOOR)), rtol=1e-4)


def test_a_tone_is_loudest_in_its_band() -> None:
    features = LogMel.usual(8000)
    edges = hertz(np.linspace(0, float(mel(4000)), 42))
    for frequency in (250, 1000, 3000):
        loudest = int(features(tone(frequency, 0.3)).mean(axis=0).argmax())
        assert edges[loudest] < frequency < edges[loudest + 2]
    silence = features(np.zeros(1000))
    np.testing.assert_allclose(silence, np.log(FLOOR), rtol=1e-6)


def test_short_sounds_have_one_frame_and_bands_have_room() -> None:
    features = LogMel.usual(8000)
    assert features(np.ones(10)).shape == (1, 40)
    with pytest.raises(UsageError, match="too many"):
        LogMel(8000, 40, 20, 60)
    with pytest.raises(UsageError, match="1 or more"):
        LogMel(8000, 0, 20)


@pytest.mark.parametrize(("rate", "wanted"), [(44100, 8000), (8000, 16000), (22050, 16000)])
def test_resampling_keeps_what_can_be_heard(rate: int, wanted: int) -> None:
    found = resampled(tone(440, 0.5, rate), rate, wanted)
    expected = tone(440, 0.5, wanted)
    assert abs(len(found) - len(expected)) <= 1
    middle = slice(400, len(expected) - 400)
    np.testing.assert_allclose(found[middle], expected[middle], atol=2e-3)


def test_resampling_removes_what_would_fold_back() -> None:
    found = resampled(tone(7000, 0.5, 44100), 44100, 8000)
    assert np.abs(found[200:-200]).max() < 5e-3
    samples = np.random.default_rng(3).normal(size=100)
    np.testing.assert_array_equal(resampled(samples, 8000, 8000), samples)


# --- folders --------------------------------------------------------------------------------


def test_each_sub_folder_is_a_class_and_bands_are_standardised(clips: Path) -> None:
    dataset, encoder, train_rows, held_out_rows = SoundFolder(clips).parts(None, 0)
    assert isinstance(encoder, SoundEncoder)
    assert dataset.classes == ("high", "low")
    assert dataset.x.dtype == np.float32
    assert dataset.x.shape == (20, encoder.features.frames(encoder.samples), 40)
    train = dataset.x[train_rows].astype(np.float64)
    np.testing.assert_allclose(train.mean(axis=(0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(train.std(axis=(0, 1)), 1, atol=1e-3)
    assert dataset.mask is not None
    assert dataset.mask[0].sum() == encoder.features.frames(800)
    assert "at 8000 Hz" in encoder.describe()
    assert len(held_out_rows) == 4


def test_held_out_sounds_have_no_say(clips: Path) -> None:
    dataset, encoder, train_rows, held_out_rows = SoundFolder(clips).parts(None, 0)
    for row in held_out_rows:
        path = clips / dataset.row_names[row]
        soundfile.write(path, np.random.default_rng(3).normal(0, 0.3, 9000), 8000)
    other = SoundFolder(clips).parts(None, 0)
    assert isinstance(encoder, SoundEncoder)
    assert isinstance(other.encoder, SoundEncoder)
    assert (other.encoder.means, other.encoder.samples) == (encoder.means, encoder.samples)
    np.testing.assert_array_equal(other.dataset.x[train_rows], dataset.x[train_rows])


def test_sounds_of_other_rates_and_channels_are_brought_to_one(clips: Path) -> None:
    left = tone(300, 0.2, 44100)
    soundfile.write(clips / "low" / "stereo.wav", np.stack([left, left], axis=1), 44100)
    whole = tone(300, 0.2)
    soundfile.write(clips / "low" / "mono.wav", whole, 8000, subtype="PCM_24")
    soundfile.write(clips / "low" / "float.wav", whole, 8000, subtype="FLOAT")
    soundfile.write(clips / "low" / "free.flac", whole, 8000)
    dataset, encoder, *_ = SoundFolder(clips, seconds=0.2).parts(0, 0)
    rows = {name: dataset.x[i] for i, name in enumerate(dataset.row_names)}
    for name in ("low/float.wav", "low/free.flac"):
        np.testing.assert_allclose(rows[name], rows["low/mono.wav"], atol=0.1)
    loud = rows["low/mono.wav"] > 0
    np.testing.assert_allclose(rows["low/stereo.wav"][loud], rows["low/mono.wav"][loud], atol=0.5)
    assert "1 resampled to 8000 Hz" in encoder.notes()[0]
    assert "1 of several channels averaged" in encoder.notes()[0]
    assert SoundFolder(clips, rate=4000, bands=20).parts(0, 0).encoder.describe().count("4000 Hz")


def test_longer_sounds_are_cut_and_shorter_ones_filled_up(clips: Path) -> None:
    soundfile.write(clips / "low" / "long.wav", tone(300, 3), 8000)
    encoder = SoundFolder(clips).parts(0, 0).encoder
    assert isinstance(encoder, SoundEncoder)
    assert encoder.samples < 8000
    assert "1 cut to" in encoder.notes()[0] or "2 cut to" in encoder.notes()[0]
    exact = SoundFolder(clips, seconds=1).parts(0, 0)
    assert exact.dataset.x.shape[1] == LogMel.usual(8000).frames(8000)


@pytest.mark.parametrize("content", [b"", b"RIFFnot a sound", "header", "half", "empty", "nan"])
def test_an_unreadable_sound_is_named_or_left_out(clips: Path, content: bytes | str) -> None:
    path = clips / "low" / "bad.wav"
    if content == "half":
        whole = (clips / "low" / "9.wav").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif content == "header":
        path.write_bytes((clips / "low" / "9.wav").read_bytes()[:40])
    elif content == "empty":
        soundfile.write(path, np.zeros(0), 8000)
    elif content == "nan":
        soundfile.write(path, np.full(800, np.nan), 8000, subtype="FLOAT")
    else:
        assert isinstance(content, bytes)
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"low/bad\.wav") as caught:
        SoundFolder(clips).parts(None, 0)
    assert "--skip-unreadable" in str(caught.value)
    dataset, encoder, *_ = SoundFolder(clips, unreadable="skip").parts(None, 0)
    assert dataset.rows == 20
    assert any("bad.wav" in note for note in encoder.notes())


def test_the_encoder_comes_back_from_json_and_reads_alike(clips: Path) -> None:
    dataset, encoder, *_ = SoundFolder(clips).parts(None, 0)
    again = encoder_from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
    read = again.read(clips, [])
    np.testing.assert_allclose(read.x, dataset.x, atol=1e-5)
    one = again.read(clips / "low" / "3.wav", [])
    np.testing.assert_array_equal(one.x[0], read.x[13])
    samples, _ = soundfile.read(clips / "low" / "3.wav")
    np.testing.assert_array_equal(again.read(samples[None], []).x, one.x)
    with pytest.raises(ShapeError):
        again.read(np.zeros(5), [])
    with pytest.raises(FileError):
        again.read("nowhere.wav", [])
    for damage in ({"stds": [0.0]}, {"rate": 0}, {"means": ["x"]}):
        with pytest.raises(DamagedFileError):
            encoder_from_json(encoder.to_json() | damage)


def test_settings_are_checked(clips: Path) -> None:
    for bad in ({"rate": 1}, {"seconds": 0}, {"unreadable": "mend"}):
        with pytest.raises(UsageError):
            SoundFolder(clips, **bad)  # type: ignore[arg-type]


def test_the_extra_is_named_where_soundfile_is_missing(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(UsageError, match="soundfile") as caught:
        SoundFolder(clips).parts(None, 0)
    assert "chainrule[audio]" in str(caught.value)


def test_the_commands_train_resume_and_predict(
    clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(clips.parent)
    assert main("train clips --epochs 60 --run-dir run --json".split()) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"] == 1
    assert main("train --resume run --epochs 61 --quiet".split()) == 0
    capsys.readouterr()
    assert main("predict run clips --json".split()) == 0
    columns = json.loads(capsys.readouterr().out)["columns"]
    assert columns["class"] == ["high"] * 10 + ["low"] * 10
    assert columns["file"][0] == "clips/high/0.wav"
    assert main("train clips --image-size 8".split()) == 2


# --- real recordings ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("CHAINRULE_DATA"), reason="CHAINRULE_DATA is not set")
def test_spoken_digits_are_told_apart(tmp_path: Path) -> None:
    """The official split of the Free Spoken Digit Dataset: recordings 0 to 4 of each are tests."""
    folder = Path(os.environ["CHAINRULE_DATA"].split(os.pathsep)[0]) / "spoken-digits"
    with tarfile.open(folder / "recordings.tar.xz") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".wav"):
                digit, _, index = Path(member.name).stem.split("_")
                part = "test" if int(index) < 5 else "train"
                place = tmp_path / "digits" / part / digit
                place.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(member)
                assert content is not None
                (place / Path(member.name).name).write_bytes(content.read())
    source = SoundFolder(tmp_path / "digits")
    parts = source.parts(None, 0)
    assert (len(parts.train_rows), len(parts.held_out_rows)) == (2700, 300)
    assert fingerprint(parts.dataset) == fingerprint(source.parts(None, 0).dataset)
    net = nn.Sequential(nn.Flatten(), nn.Dense(64), nn.relu, nn.Dropout(0.5), nn.Dense(10))
    run = cr.train(net, source, epochs=15, backend="native")
    assert run.metrics["accuracy"] > 0.85
