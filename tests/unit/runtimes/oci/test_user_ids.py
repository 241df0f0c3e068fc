"""Which images need several user ids, by what can be seen of them, and where an ordinary user's come from."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest

from hilbert.runtimes.oci.program import Program
from hilbert.runtimes.oci.user_ids import ANNOTATION_USER_IDS, mappers, why_many
from hilbert.runtimes.replica.users import Users

DEBIAN = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/:/x\n_apt:x:100:65534::/:/x\nnobody:x:65534:65534::/:/x\n"
ALPINE = "root:x:0:0:root:/root:/bin/ash\nguest:x:405:100::/:/x\nntp:x:123:123::/:/x\nnobody:x:65534:65534::/:/x\n"


def program(user: int) -> Program:
    return Program(argv=("/x",), user=user, group=user, folder="/", environment={})


def image(tmp_path: Path, accounts: str) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(accounts)
    return tmp_path


@pytest.mark.parametrize("base", [DEBIAN, ALPINE], ids=["debian", "alpine"])
@pytest.mark.parametrize(
    ("own", "user", "annotations", "many"),
    [
        ("", 0, {}, False),
        ("nginx:x:101:101::/:/x\n", 0, {}, True),
        ("nginx:x:101:101::/:/x\n", 101, {}, False),
        ("app:x:1000:1000::/:/x\n", 0, {}, True),
        ("app:x:1000:1000::/:/x\n", 0, {ANNOTATION_USER_IDS: "one"}, False),
        ("", 0, {ANNOTATION_USER_IDS: "many"}, True),
        ("systemd-network:x:998:998::/:/x\n", 0, {}, False),
        ("broken\nother:x:many:3::/:/x\n:::\n", 0, {}, False),
    ],
)
def test_who_is_about_to_become_another(
    tmp_path: Path, base: str, own: str, user: int, annotations: dict[str, str], many: bool
) -> None:
    assert bool(why_many(image(tmp_path, base + own), program(user), annotations)) == many


def test_the_reason_names_the_account(tmp_path: Path) -> None:
    assert "nginx" in why_many(image(tmp_path, DEBIAN + "nginx:x:101:101::/:/x\n"), program(0), {})


def test_an_image_without_accounts(tmp_path: Path) -> None:
    assert why_many(tmp_path, program(0), {}) == ""


@pytest.mark.skipif(shutil.which("newuidmap") is None, reason="newuidmap (package uidmap) is not installed")
def test_ids_of_an_ordinary_user(tmp_path: Path) -> None:
    user = os.geteuid()
    file = tmp_path / "subuid"
    file.write_text(f"nobody-of-that-name:100000:65536\n{user}:200000:100\n{user}:300000:131072\nrubbish\n{user}:x:y\n")
    uids, gids = mappers(subuid=file, subgid=file)
    assert uids[1:] == ("0", str(user), "1", "1", "300000", "65535")
    assert gids[1:] == ("0", str(os.getegid()), "1", "1", "300000", "65535")
    assert mappers(subuid=file, subgid=tmp_path / "none") == ()


def test_blocks_of_ids_are_apart_from_each_other_and_from_single_ids() -> None:
    users = Users("hilbert-1", uid_map="0 0 4294967295\n")
    if not users.available:
        pytest.skip("as root only")
    blocks = [users.block(tenant) for tenant in range(20000)]
    given = [block for block in blocks if block is not None]
    assert len(given) == 19456
    assert all(first + count <= later for (first, count), (later, _) in itertools.pairwise(given))
    single = users.user(1)
    assert single is not None
    assert given[-1][0] + given[-1][1] <= single[0]
    assert Users("hilbert-1", uid_map="0 0 65536\n").block(1) is None
