"""The one way onto the network: a public file, when a person has asked for it."""

from __future__ import annotations

from chainrule.errors import FileError

_WAIT = 30.0  # seconds without an answer


def fetched(address: str) -> bytes:
    """The bytes at an address of a public set; FileError where nothing comes of it."""
    import urllib.request

    try:
        with urllib.request.urlopen(address, timeout=_WAIT) as answer:  # noqa: S310 - one of ours
            content: bytes = answer.read()
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise FileError(f"{address} cannot be fetched: {why}") from None
    return content
