"""The data directory: one supervisor at a time, and keys that outlive it."""

import base64
from pathlib import Path

import pytest

from cli.up.installation import held, keep_admin_key, keep_master_key
from cli.up.refusal import StartRefusedError


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_directory_is_held_by_one_and_let_go(tmp_path: Path) -> None:
    data = tmp_path / "deep" / "data"
    with held(data):
        assert mode(data) == 0o700
        with pytest.raises(StartRefusedError, match="another headgate runs"), held(data):
            pass
    with held(data):
        pass


def test_a_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartRefusedError, match="HEADGATE_DATA"), held(tmp_path / "file" / "data"):
        pass


def test_an_admin_key_is_made_once(tmp_path: Path) -> None:
    first, second = keep_admin_key(tmp_path, ""), keep_admin_key(tmp_path, "")
    assert (first.made, second.made, first.value) == (True, False, second.value)
    assert first.value.startswith("sk-")
    assert len(first.value) == 51
    assert mode(tmp_path / "admin.key") == 0o600


def test_an_admin_key_that_is_given_is_kept_and_not_shown(tmp_path: Path) -> None:
    keep_admin_key(tmp_path, "")
    given = "sk-" + "a" * 29
    assert keep_admin_key(tmp_path, given).made is False
    assert keep_admin_key(tmp_path, "").value == given


@pytest.mark.parametrize("bad", ["sk-short", "pk-" + "a" * 40, "sk-" + "a" * 20 + " " + "a" * 20])
def test_what_is_no_key_is_refused_without_being_shown(tmp_path: Path, bad: str) -> None:
    with pytest.raises(StartRefusedError, match="HEADGATE_ADMIN_KEY") as refusal:
        keep_admin_key(tmp_path, bad)
    assert bad not in str(refusal.value)


def test_the_master_key_is_made_once_of_32_bytes(tmp_path: Path) -> None:
    keep_master_key(tmp_path)
    made = (tmp_path / "master.key").read_text()
    keep_master_key(tmp_path)
    assert (tmp_path / "master.key").read_text() == made
    assert len(base64.b64decode(made)) == 32
    assert mode(tmp_path / "master.key") == 0o600
