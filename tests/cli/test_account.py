"""Root's programs and data lent to an account that cannot reach them, with nobody's permissions changed."""

import os
import subprocess
from pathlib import Path

import pytest

from cli.children import Account
from cli.servers import ServerError
from cli.servers.account import account_for, handed_over, programs_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends anything")

NOBODY = Account(uid=65534, gid=65534)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A directory below one that is closed to others, as a root's home is."""
    home = tmp_path / "home"
    inner = home / "packages"
    inner.mkdir(parents=True)
    home.chmod(0o700)
    return inner


@pytest.fixture
def program(closed: Path) -> Path:
    path = closed / "kit" / "bin" / "tool"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\necho 1.0\n")
    path.chmod(0o700)
    return path


def test_programs_out_of_reach_are_copied_once(program: Path, closed: Path) -> None:
    version = f"test-{os.getpid()}"

    def root() -> Path:
        return programs_for(NOBODY, packages=closed, parts=("kit",), probe="kit/bin/tool", version=version)

    copy = root()
    try:
        made = copy.stat().st_ino
        shown = subprocess.run([copy / "kit/bin/tool"], user=65534, capture_output=True, text=True, check=True)
        assert (shown.stdout, root().stat().st_ino) == ("1.0\n", made)
        assert program.stat().st_mode & 0o777 == 0o700
    finally:
        subprocess.run(["rm", "-r", copy], check=True)


def test_programs_within_reach_stay_where_they_are() -> None:
    assert programs_for(NOBODY, packages=Path("/"), parts=(), probe="bin/true", version="x") == Path("/")


def test_a_program_that_does_not_run_is_refused(closed: Path) -> None:
    with pytest.raises(ServerError, match="HEADGATE_POSTGRES_DSN"):
        programs_for(NOBODY, packages=closed, parts=(), probe="nothing", version=f"none-{os.getpid()}")


def test_data_are_handed_over_without_opening_the_way(closed: Path) -> None:
    with handed_over(closed, NOBODY) as (name, descriptors):
        subprocess.run(
            ["sh", "-c", f"echo hello > {name}/file"], user=65534, group=65534, pass_fds=descriptors, check=True
        )
    assert (closed / "file").read_text() == "hello\n"
    assert closed.parent.stat().st_mode & 0o777 == 0o700


def test_data_keep_the_account_they_have(closed: Path) -> None:
    os.chown(closed, 12345, 12346)
    assert account_for(closed) == Account(uid=12345, gid=12346)
