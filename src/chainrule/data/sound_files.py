"""One sound file as samples, with soundfile, which is imported only here and when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DataError, UsageError

SUFFIXES = frozenset(".wav .wave .flac .ogg .aif .aiff .mp3".split())


@dataclass(frozen=True)
class SoundInfo:
    """What the header of a sound file says."""

    rate: int  # samples a second
    samples: int  # of each channel
    channels: int


def sound_info(path: Path) -> SoundInfo:
    """The header of a sound file. Raises DataError, which names the file, where there is none or
    it has no samples; UsageError without soundfile."""
    room = _soundfile()
    try:
        found = room.info(str(path))
    except (RuntimeError, OSError, ValueError) as error:  # soundfile's own is a RuntimeError
        raise _unreadable(path, error) from None
    if found.frames < 1 or found.samplerate < 1:
        raise _unreadable(path, "it has no samples")
    if _is_cut(path):
        raise _unreadable(path, "it is cut short")
    return SoundInfo(int(found.samplerate), int(found.frames), int(found.channels))


def read_sound(path: Path) -> tuple[NDArray[np.float64], int]:
    """The samples of a sound file, float64 [samples] between -1 and 1, and their rate; of several
    channels the mean. Errors as in `sound_info`."""
    room = _soundfile()
    try:
        samples, rate = room.read(str(path), dtype="float64", always_2d=True)
    except (RuntimeError, OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if not len(samples):
        raise _unreadable(path, "it has no samples")
    if not np.isfinite(samples).all():
        raise _unreadable(path, "it holds samples that are not finite")
    mono: NDArray[np.float64] = samples.mean(axis=1)
    return mono, int(rate)


def _is_cut(path: Path) -> bool:
    """Whether a WAV file is shorter than it says: the library reads what is left of it."""
    with path.open("rb") as file:
        begin = file.read(8)
    size = int.from_bytes(begin[4:], "little")
    is_stream = size == 0xFFFFFFFF  # written without knowing its length
    return begin[:4] == b"RIFF" and not is_stream and size + 8 > path.stat().st_size


def _unreadable(path: Path, why: object) -> DataError:
    text = str(why).replace(str(path), "it").replace("'it'", "it")
    return DataError(
        f"the sound {path} cannot be read: {text}",
        do="mend or remove it, or leave out what cannot be read (--skip-unreadable; in Python: "
        'unreadable="skip")',
    )


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: without libsndfile
        raise UsageError(
            "sounds are read with soundfile, which is not installed",
            do="pip install 'chainrule[audio]'",
        ) from None
    return soundfile
