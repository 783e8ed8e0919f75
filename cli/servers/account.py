"""Where PostgreSQL runs when we are root, which it refuses to be.

It then runs as an account without rights. That account can often reach neither the data (`$HEADGATE_DATA` is
closed to others, and so is a root's home above it) nor the programs (a virtual environment below that home).
Nobody's permissions are changed for that: the data directory is handed over as an open descriptor,
`/proc/self/fd/N`, which needs no way there, and programs out of reach are copied, once per version, to where
everybody may read.
"""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cli.children import Account
from cli.servers.failure import ServerError

_ACCOUNTS = ("postgres", "nobody", "daemon")


def account_for(data: Path) -> Account | None:
    """None unless we are root; else the owner of the data, or the first harmless account of the system."""
    if os.geteuid() != 0:
        return None
    owner = data.stat()
    if owner.st_uid != 0:
        return Account(uid=owner.st_uid, gid=owner.st_gid)
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    raise ServerError(
        f"PostgreSQL does not run as root, and this system has none of the accounts {', '.join(_ACCOUNTS)}: "
        "run as another user, or set HEADGATE_POSTGRES_DSN"
    )


@contextmanager
def handed_over(data: Path, account: Account | None) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The name of `data` for the child, and the descriptors it must inherit for that name to mean something."""
    if account is None:
        yield str(data), ()
        return
    os.chown(data, account.uid, account.gid)
    if not sys.platform.startswith("linux"):
        yield str(data), ()
        return
    descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}", (descriptor,)
    finally:
        os.close(descriptor)


def programs_for(account: Account | None, *, packages: Path, parts: tuple[str, ...], probe: str, version: str) -> Path:
    """The directory that holds `parts` (at first `packages`) and from which `account` can run them.

    `probe` is a program below that directory; it is asked for its version, as that account, to know.
    """
    if account is None or _runs(packages / probe, account):
        return packages
    for parent in dict.fromkeys((Path("/var/lib"), Path("/var/tmp"), Path(tempfile.gettempdir()))):  # noqa: S108
        copy = parent / f"headgate-{version}"
        if not _ours(copy):
            with suppress(OSError):  # no room, not writable, or another start was quicker
                _copy(packages, parts, copy)
        if _ours(copy):
            if _runs(copy / probe, account):
                return copy
            shutil.rmtree(copy, ignore_errors=True)
    raise ServerError(
        f"PostgreSQL does not run as root, and the account {account.uid} cannot run it from {packages}: "
        "run as another user, or set HEADGATE_POSTGRES_DSN"
    )


def _runs(program: Path, account: Account) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [str(program), "--version"],
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            capture_output=True,
            timeout=10,
            cwd="/",
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


def _ours(copy: Path) -> bool:
    """Whether root made it and only root may change it: in a shared place anyone could take the name."""
    try:
        found = copy.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o022


def _copy(packages: Path, parts: tuple[str, ...], target: Path) -> None:
    """Copy under a name of its own, then rename: nobody ever sees half a copy."""
    fresh = Path(tempfile.mkdtemp(prefix=".headgate-", dir=target.parent))
    try:
        for part in parts:
            shutil.copytree(packages / part, fresh / part, symlinks=True)
        for path in (fresh, *fresh.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
