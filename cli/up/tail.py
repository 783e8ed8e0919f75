"""Follows the log files of a stack, and keeps them from filling the disk."""

import shutil
from collections.abc import Iterator
from pathlib import Path

_READ_BYTES = 256 * 1024
_LARGEST_BYTES = 64 * 1024 * 1024
_LONGEST_LINE_BYTES = 64 * 1024


class LogTail:
    """New whole lines of one file that children append to; begins at its present end.

    A file that has grown past 64 MiB is copied to `<name>.1` and emptied. Children hold it open and append,
    so it is not renamed; lines written between the copy and the cut are lost.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def lines(self) -> Iterator[str]:
        """What has come since the last call, at most 256 KiB of it."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._position)
                fresh = file.read(_READ_BYTES)
        except FileNotFoundError:
            return
        self._position += len(fresh)
        if self._position > _LARGEST_BYTES and len(fresh) < _READ_BYTES:
            self._cut()
        *whole, self._rest = (self._rest + fresh).split(b"\n")
        if len(self._rest) > _LONGEST_LINE_BYTES:
            whole, self._rest = [*whole, self._rest], b""
        for line in whole:
            yield line.decode("utf-8", "replace")

    def _cut(self) -> None:
        shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.1"))
        with self.path.open("r+b") as file:
            file.truncate(0)
        self._position = 0
