"""Becoming the function's user, for good, before any of its code runs."""

from __future__ import annotations

import os
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38


class PrivilegeError(Exception):
    """The change of user did not work, or could be undone; the function must not run."""


def become(user: int, group: int) -> None:
    """Drop to `user` and `group` with no other groups, and give up gaining rights. Raises `PrivilegeError`."""
    try:
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    except OSError as exc:
        raise PrivilegeError(f"cannot become user {user}, group {group}: {exc.strerror}") from exc
    if os.getresuid() != (user,) * 3 or os.getresgid() != (group,) * 3 or os.getgroups():
        raise PrivilegeError(f"did not become user {user}, group {group}")
    for restore in (os.setuid, os.setgid):
        try:
            restore(0)
        except PermissionError:
            continue
        raise PrivilegeError("the change of user could be undone")
    forbid_new_privileges()


def forbid_new_privileges() -> None:
    """No program started from here on gains rights by being set-user-id (`prctl(2)`). Raises `PrivilegeError`."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise PrivilegeError(f"cannot set no-new-privileges: {os.strerror(ctypes.get_errno())}")
