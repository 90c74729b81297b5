"""What a run keeps on disk: its configuration, its record, its checkpoints and its network."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chainrule.errors import DamagedFileError, FileError, UsageError
from chainrule.store import CheckpointFolder, make_directory, sweep, write_atomic

FORMAT = 1
CONFIG, RECORD, CHECKPOINTS = "config.json", "record.jsonl", "checkpoints"
NETWORK, REPORT, PROFILE = "net.safetensors", "report.html", "profile.json"


class RunDirectory:
    """The folder of one run. Every file in it is written whole or not at all."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / CONFIG
        self.record = self.path / RECORD
        self.network = self.path / NETWORK
        self.report = self.path / REPORT
        self.profile = self.path / PROFILE

    def check_free(self) -> None:
        """Raises UsageError where the folder already holds a run."""
        if self.config.exists():
            raise UsageError(
                f"{self.path} already holds a run",
                do=f"go on with it (chainrule train --resume {self.path}; in Python: resume=True), "
                "or choose another directory",
            )

    def create(self, config: Mapping[str, Any]) -> None:
        """Makes the folder that of a run. UsageError where it already holds one."""
        self.check_free()
        make_directory(self.path)
        whole = {"format": FORMAT, "checksum": _checksum(config), **config}
        text = json.dumps(whole, indent=2, allow_nan=False)
        write_atomic(self.config, (text + "\n").encode())

    def sweep(self) -> None:
        """Removes what killed saves left behind."""
        sweep(self.path)

    def read_config(self) -> dict[str, Any]:
        """The configuration; FileError or DamagedFileError where there is none."""
        try:
            text = self.config.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise FileError(
                f"{self.path} is not a run directory: it has no {CONFIG}",
                do="give the directory that `chainrule train` named when it ended",
            ) from None
        except UnicodeDecodeError:
            text = ""
        except OSError as error:
            raise FileError(
                f"{self.config} cannot be read: {error.strerror or error}",
                do="check that you may read it",
            ) from None
        try:
            config = json.loads(text)
            version = config.pop("format")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            config, version = {}, FORMAT
        if version != FORMAT:
            raise DamagedFileError(
                f"{self.config} has format {version!r}; this version reads {FORMAT}",
                do="use the version of chainrule that made it, or a newer one",
            )
        # With the checksum, what is in it need not be checked piece by piece wherever it is used.
        if config.pop("checksum", None) != _checksum(config):
            raise DamagedFileError(
                f"{self.config} is damaged, or is not the configuration of a run",
                do="restore the file as it was written, or train again",
            )
        assert isinstance(config, dict)
        return config

    def checkpoints(self) -> CheckpointFolder:
        return CheckpointFolder(self.path / CHECKPOINTS)


def _checksum(config: Mapping[str, Any]) -> str:
    """Of the values, whatever the layout and the order of the text."""
    text = json.dumps(config, sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
