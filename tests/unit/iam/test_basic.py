"""The gateway's password: made once, private, whole or not there at all."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hilbert.core.errors import InvalidSettings
from hilbert.iam.basic import (
    LOOK_EVERY,
    PASSWORD_FILE,
    USER_FILE,
    Credentials,
    PasswordFolder,
    load_credentials,
    load_or_create_credentials,
    rotate_password,
    switch_password,
)


def test_made_on_first_start_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "auth"
    made = load_or_create_credentials(folder)
    assert made.user == "admin"
    assert len(made.password) == 32
    assert made.password.isalnum()
    assert load_or_create_credentials(folder) == made
    assert load_credentials(folder) == made
    assert sorted(path.name for path in folder.iterdir()) == [PASSWORD_FILE, USER_FILE]


def test_private_whatever_the_umask(tmp_path: Path) -> None:
    folder = tmp_path / "auth"
    before = os.umask(0)
    try:
        load_or_create_credentials(folder)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in (USER_FILE, PASSWORD_FILE):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_two_installations_have_two_passwords(tmp_path: Path) -> None:
    one, two = (load_or_create_credentials(tmp_path / name) for name in ("one", "two"))
    assert one.password != two.password


def test_what_is_there_is_read_without_its_white_space(tmp_path: Path) -> None:
    (tmp_path / USER_FILE).write_text(" root\n")
    (tmp_path / PASSWORD_FILE).write_text("two words \r\n")
    assert load_or_create_credentials(tmp_path) == Credentials("root", "two words")


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    (tmp_path / PASSWORD_FILE).write_text("mine")
    assert load_or_create_credentials(tmp_path) == Credentials("admin", "mine")


def test_starting_side_by_side_gives_one_password(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: load_or_create_credentials(tmp_path / "auth"), range(16)))
    assert len({credentials.password for credentials in found}) == 1
    assert len(list((tmp_path / "auth").iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff", b"x" * 5000])
def test_contents_that_are_no_password(tmp_path: Path, content: bytes) -> None:
    load_or_create_credentials(tmp_path)
    (tmp_path / PASSWORD_FILE).write_bytes(content)
    with pytest.raises(InvalidSettings, match=PASSWORD_FILE):
        load_or_create_credentials(tmp_path)


def test_a_folder_that_another_party_fills_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="cannot read"):
        load_credentials(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidSettings, match="cannot create the credentials"):
        load_or_create_credentials(tmp_path / "file" / "auth")


def test_comparing_and_showing() -> None:
    credentials = Credentials("admin", "hunter2")
    assert credentials.match("admin", "hunter2")
    for user, password in (("admin", "hunter3"), ("root", "hunter2"), ("", ""), ("admin", ""), ("admin", "\ud800")):
        assert not credentials.match(user, password)
    assert "hunter2" not in repr(credentials)
    assert "hunter2" not in f"{credentials} {[credentials]}"


class TestPasswordFolder:
    """The gateway's view of the files, looked at again by a clock that tests turn."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        load_or_create_credentials(tmp_path / "auth")
        return tmp_path / "auth"

    def test_a_rotation_is_in_force_within_a_second(self, folder: Path) -> None:
        now = 0.0
        old = load_credentials(folder).password
        seen = PasswordFolder(folder, now=lambda: now)
        new = rotate_password(folder)
        assert new != old
        assert seen.match("admin", old)
        now = LOOK_EVERY
        assert (seen.match("admin", old), seen.match("admin", new)) == (False, True)
        assert (folder / PASSWORD_FILE).stat().st_mode & 0o777 == 0o600

    def test_the_new_password_is_good_at_once(self, folder: Path) -> None:
        """Whoever has just changed it goes on with the next command; from then on the old one is refused."""
        seen = PasswordFolder(folder, now=lambda: 0.0)
        old = load_credentials(folder).password
        new = rotate_password(folder)
        assert (seen.match("admin", new), seen.match("admin", old)) == (True, False)

    def test_off_and_on_again(self, folder: Path) -> None:
        now = 0.0
        password = load_credentials(folder).password
        seen = PasswordFolder(folder, now=lambda: now)
        for on in (False, True, False):
            switch_password(folder, on=on)
            now += LOOK_EVERY
            assert (seen.match("admin", password), seen.is_on) == (on, on)
        assert not PasswordFolder(folder).match("admin", password)
        switch_password(folder, on=True)
        switch_password(folder, on=True)
        assert PasswordFolder(folder).match("admin", password)

    @pytest.mark.parametrize("content", [None, b"", b"\xff"])
    def test_files_that_break_leave_the_old_password_in_force(self, folder: Path, content: bytes | None) -> None:
        now = 0.0
        password = load_credentials(folder).password
        seen = PasswordFolder(folder, now=lambda: now)
        if content is None:
            (folder / PASSWORD_FILE).unlink()
        else:
            (folder / PASSWORD_FILE).write_bytes(content)
        now = LOOK_EVERY
        assert seen.match("admin", password)
        new = rotate_password(folder)
        now *= 2
        assert (seen.match("admin", password), seen.match("admin", new)) == (False, True)
