"""Sound as a picture of its pitch over time: log-mel features, and samples at another rate.

All in plain NumPy. The samples are cut into overlapping frames, each frame is weighed with a Hann
window and transformed (`rfft`), its power is summed in triangular bands that are equally wide on
the mel scale, and the logarithm is taken, as the ear hears.

Sources: Stevens, Volkmann and Newman, "A scale for the measurement of the psychological magnitude
pitch", 1937; O'Shaughnessy, "Speech communication", 1987 (2595 log10(1 + f / 700)); Davis and
Mermelstein, "Comparison of parametric representations for monosyllabic word recognition", 1980.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import UsageError

Floats = NDArray[np.float64]

FLOOR = 1e-6  # power that counts as silence: 60 dB below a full-scale sine in one band, about
_ZERO_CROSSINGS = 16  # of the sinc on each side: ripples below a thousandth
_AT_ONCE = 1 << 14  # samples that are resampled together


@dataclass(frozen=True)
class LogMel:
    """How sound becomes features.

    `rate` is in samples a second, `frame` and `hop` are in samples, `bands` is the number of
    features of a frame. Raises UsageError where a band is narrower than the spectrum is fine.
    """

    rate: int
    frame: int
    hop: int
    bands: int = 40

    def __post_init__(self) -> None:
        if min(self.rate, self.frame, self.hop, self.bands) < 1:
            raise UsageError(f"{self}: every number must be 1 or more")
        if not (mel_bank(self.rate, self.size, self.bands).sum(axis=0) > 0).all():
            raise UsageError(
                f"{self.bands} bands are too many for frames of {self.frame} samples",
                do="use fewer bands, or longer frames",
            )

    @classmethod
    def usual(cls, rate: int, bands: int = 40) -> LogMel:
        """Frames of 25 ms, one every 10 ms, as is usual for speech."""
        return cls(rate, max(1, round(0.025 * rate)), max(1, round(0.010 * rate)), bands)

    @property
    def size(self) -> int:
        """The points of a transform: the power of two that holds a frame."""
        return 1 << max(1, (self.frame - 1).bit_length())

    def frames(self, samples: int) -> int:
        """How many frames so many samples have; what is shorter than a frame is filled up to one,
        and what is left over at the end is left out."""
        return 1 + max(0, samples - self.frame) // self.hop

    def __call__(self, samples: NDArray[np.floating]) -> NDArray[np.float32]:
        """The features of samples between -1 and 1: [samples] -> float32 [frames, bands]."""
        short = self.frame - len(samples)
        filled = np.pad(samples, (0, short)) if short > 0 else samples
        windows = np.lib.stride_tricks.sliding_window_view(filled, self.frame)[:: self.hop]
        weighed = windows * hann(self.frame)
        spectrum = np.fft.rfft(weighed, self.size, axis=1)
        # So that a full-scale sine has the power 1 at its peak, whatever the frame.
        power = (spectrum.real**2 + spectrum.imag**2) * (2 / hann(self.frame).sum()) ** 2
        in_bands = power @ mel_bank(self.rate, self.size, self.bands)
        found: NDArray[np.float32] = np.log(np.maximum(in_bands, FLOOR)).astype(np.float32)
        return found


@lru_cache
def hann(size: int) -> Floats:
    """The Hann window of `size` points, sin²(pi n / size)."""
    window: Floats = np.sin(np.pi * np.arange(size) / size) ** 2 if size > 1 else np.ones(1)
    return window


def mel(frequency: NDArray[np.floating] | float) -> Floats:
    """Hertz as mels, 2595 log10(1 + f / 700)."""
    return np.asarray(2595 * np.log10(1 + np.asarray(frequency, np.float64) / 700))


def hertz(mels: NDArray[np.floating] | float) -> Floats:
    """Mels as hertz, the inverse of `mel`."""
    return np.asarray(700 * (10 ** (np.asarray(mels, np.float64) / 2595) - 1))


@lru_cache
def mel_bank(rate: int, size: int, bands: int) -> Floats:
    """The share of each frequency of a transform in each band: [size // 2 + 1, bands].

    Band b rises from 0 at edge b to 1 at edge b + 1 and falls to 0 at edge b + 2, where the bands
    + 2 edges divide 0 to rate / 2 equally on the mel scale.
    """
    edges = hertz(np.linspace(0, float(mel(rate / 2)), bands + 2))
    frequencies = np.arange(size // 2 + 1)[:, None] * rate / size
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0, np.minimum(rising, falling)))


def resampled(samples: NDArray[np.floating], rate: int, wanted: int) -> Floats:
    """Samples at another rate, in samples a second: [samples] -> float64 [about the same seconds].

    Each new sample is the sum of those around it, weighed by a sinc under a Hann window whose
    cutoff is half the lower of the two rates, so that nothing folds back into what can be heard.

    Source: Smith and Gossett, "A flexible sampling-rate conversion method", ICASSP 1984.
    """
    signal = np.asarray(samples, np.float64)
    if rate == wanted or not len(signal):
        return signal
    step, cutoff = rate / wanted, min(1.0, wanted / rate)
    reach = math.ceil(_ZERO_CROSSINGS / cutoff)
    padded = np.pad(signal, reach)
    count = math.ceil(len(signal) * wanted / rate)
    result = np.empty(count)
    for first in range(0, count, _AT_ONCE):
        places = np.arange(first, min(first + _AT_ONCE, count)) * step
        left = np.floor(places).astype(np.int64)
        near = left[:, None] + np.arange(-reach + 1, reach + 1)  # in samples of the signal
        away = (places[:, None] - near) * cutoff
        inside = np.abs(away) < _ZERO_CROSSINGS
        window = np.where(inside, np.cos(np.pi * away / (2 * _ZERO_CROSSINGS)) ** 2, 0)
        weights = cutoff * np.sinc(away) * window
        values = padded[np.minimum(near + reach, len(padded) - 1)]
        result[first : first + len(places)] = np.einsum("ij,ij->i", values, weights)
    return result
