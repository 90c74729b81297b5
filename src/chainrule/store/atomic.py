"""Writing a file so that a reader finds the old contents or the new ones, never a mixture.

The bytes go to a temporary name in the same directory, reach the disk (fsync), and take the real
name in one step (rename); the directory is then synced so that the new name outlives a power cut.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from chainrule.errors import FileError

try:
    import fcntl
except ImportError:  # Windows; there a file that is open cannot be removed in any case
    fcntl = None  # type: ignore[assignment]

Chunk = bytes | bytearray | memoryview

PARTIAL = ".partial-"
_OURS = re.compile(re.escape(PARTIAL) + r"[0-9a-f]{16}")

# One system call at a time writes at most this much: macOS refuses 2 GiB and more, and Ctrl-C is
# answered between calls.
_MOST_AT_ONCE = 16 * 2**20

# What the sync of a directory answers on file systems that have no such thing.
_NO_DIRECTORY_SYNC = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP})

_DO = {
    errno.ENOSPC: "free some space on this disk, then try again",
    errno.EDQUOT: "free some space in your quota, then try again",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f), or save to another disk",
    errno.EIO: "the disk reports an error; save to another disk",
    errno.EACCES: "choose a directory that you may write to",
    errno.EPERM: "choose a directory that you may write to",
    errno.EROFS: "this disk is read-only; choose another directory",
    errno.ENOENT: "create the directory first, or check the path",
    errno.ENOTDIR: "a part of the path is a file; check the path",
    errno.EISDIR: "this is a directory; give the name of a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "close some files (or raise ulimit -n), then try again",
}


def file_error(failed: str, path: Path, error: OSError) -> FileError:
    """The error for an operating system's refusal: `failed` says what could not be done."""
    reason = error.strerror or str(error) or type(error).__name__
    do = _DO.get(error.errno or 0, "check the path and the disk, then try again")
    return FileError(f"{failed}: {reason}", where=str(path), do=do)


def write_atomic(
    path: str | os.PathLike[str], data: Chunk | Iterable[Chunk], *, durable: bool = True
) -> None:
    """Write `data` to `path` so that the file afterwards holds all of it, or what it held before.

    `data` is the bytes, or an iterable of pieces written one after the other. Whatever goes wrong
    before the file is complete (a full disk, an I/O error, Ctrl-C, an error raised by the iterable)
    the file that was there stays as it was and the temporary one is removed; after a kill or a
    power cut the temporary one may stay behind, for `sweep`. Only where the directory itself cannot
    be synced is the new file already in place when the error is raised. A file that is not
    `durable` does not wait for the disk: after a power cut it may hold anything.

    Raises FileError, with the reason and what to do, for all that the operating system refuses.
    """
    target = Path(path)
    if not target.name:
        raise FileError("no file name was given", where=repr(str(path)), do="give one")
    temporary = target.with_name(PARTIAL + secrets.token_hex(8))
    try:
        with contextlib.ExitStack() as held:
            _write_whole(temporary, _pieces(data), held, durable)
            try:
                os.replace(temporary, target)
            except BaseException:
                _discard(temporary)
                raise
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise file_error(f"could not write {target.name}", target, error) from error
    try:
        if durable:
            _sync_directory(target.parent)
    except OSError as error:
        failed = f"{target.name} is written, but may be lost if the power fails"
        raise file_error(failed, target, error) from error


def make_directory(path: str | os.PathLike[str]) -> None:
    """Make a directory, and those above it, so that it outlives a power cut; it may exist already.

    Raises FileError, with the reason and what to do, for all that the operating system refuses.
    """
    directory = Path(path)
    try:
        missing = [place for place in (directory, *directory.parents) if not place.exists()]
        directory.mkdir(parents=True, exist_ok=True)
        for made in missing:
            _sync_directory(made.parent)
    except OSError as error:
        failed = f"could not make the directory {directory.name}"
        raise file_error(failed, directory, error) from error


def sweep(directory: str | os.PathLike[str]) -> list[Path]:
    """Remove the leftovers of killed saves in `directory`; returns the paths removed.

    Only names that `write_atomic` makes are touched, and none that a process is still writing. What
    cannot be removed is left; a directory that does not exist holds no leftovers.
    """
    removed: list[Path] = []
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return removed
    for name in names:
        leftover = Path(directory, name)
        if _OURS.fullmatch(name) and not _being_written(leftover):
            with contextlib.suppress(OSError):
                os.unlink(leftover)
                removed.append(leftover)
    return removed


def _pieces(data: Chunk | Iterable[Chunk]) -> Iterator[memoryview]:
    pieces = (data,) if isinstance(data, Chunk) else data
    for piece in pieces:
        view = memoryview(piece)
        if view.nbytes:
            yield view.cast("B")


def _write_whole(
    temporary: Path, pieces: Iterator[memoryview], held: contextlib.ExitStack, durable: bool
) -> None:
    """Create `temporary` with all the bytes, locked until `held` is closed; on disk if `durable`.

    On failure nothing is left of it.
    """
    exclusive = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, exclusive, 0o666)
    try:
        try:
            _hold(descriptor, held)
            for piece in pieces:
                _write_all(descriptor, piece)
            if durable:
                os.fsync(descriptor)
        finally:
            # Some file systems report a full disk only here, so its error counts too.
            os.close(descriptor)
    except BaseException:
        _discard(temporary)
        raise


def _write_all(descriptor: int, view: memoryview) -> None:
    done = 0
    while done < len(view):
        written = os.write(descriptor, view[done : done + _MOST_AT_ONCE])
        if written <= 0:
            raise OSError(errno.EIO, "the disk took no bytes")
        done += written


def _discard(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        os.unlink(temporary)


def _sync_directory(directory: Path) -> None:
    if os.name == "nt":  # a directory cannot be opened there
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
    finally:
        os.close(descriptor)


def _hold(descriptor: int, held: contextlib.ExitStack) -> None:
    """Lock the file against `sweep` until `held` is closed; a kill lets go of it."""
    if fcntl is None:
        return
    # A second descriptor keeps the lock while the first is closed, for its errors, before the
    # rename.
    second = os.dup(descriptor)
    held.callback(_close_quietly, second)
    with contextlib.suppress(OSError):  # file systems without locks
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _close_quietly(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _being_written(path: Path) -> bool:
    if fcntl is None:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
