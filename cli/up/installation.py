"""The data directory of an installation: who holds it, and the two keys that live in it."""

import base64
import fcntl
import os
import re
import secrets
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cli.up.refusal import StartRefusedError

_BASE62 = string.ascii_letters + string.digits
_ADMIN_KEY = re.compile(r"sk-[!-~]{29,252}")


class AdminKey(msgspec.Struct, frozen=True, kw_only=True):
    """The root admin's key; `made` only when this start drew it, so that it is shown once."""

    value: str
    made: bool


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Make the directory (0700) and hold it for one supervisor; the kernel lets go when the process ends,
    however.

    Raises `StartRefusedError` when another supervisor holds it or it cannot be made.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(data.iterdir()):
            data.chmod(0o700)
        (data / "logs").mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartRefusedError(f"HEADGATE_DATA: {error.strerror}: {error.filename}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartRefusedError(
                f"another headgate runs on {data}: stop it first, or set HEADGATE_DATA to another directory"
            ) from error
        yield
    finally:
        os.close(descriptor)


def keep_master_key(data: Path) -> None:
    """Make `master.key` (base64 of 32 random bytes) at the first start; everything secret is derived from it."""
    if not (data / "master.key").exists():
        write_private(data / "master.key", base64.b64encode(secrets.token_bytes(32)).decode() + "\n")


def keep_admin_key(data: Path, given: str) -> AdminKey:
    """The admin key that the user gave, else the one of an earlier start, else a new one; kept in
    `admin.key`.

    Raises `StartRefusedError` when the one given is not a key.
    """
    path = data / "admin.key"
    if given:
        if not _ADMIN_KEY.fullmatch(given):
            raise StartRefusedError(
                "HEADGATE_ADMIN_KEY must begin with sk- and have 32 to 255 characters, none a space"
            )
        write_private(path, given + "\n")
        return AdminKey(value=given, made=False)
    if path.exists() and (kept := path.read_text().strip()):
        return AdminKey(value=kept, made=False)
    drawn = "sk-" + "".join(secrets.choice(_BASE62) for _ in range(48))
    write_private(path, drawn + "\n")
    return AdminKey(value=drawn, made=True)


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, mode 0600: a reader sees the old text or the new, and a crash leaves one of
    them.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)
