"""git, for fetching templates: a program that must not be led to run anything or to read beside what was meant."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hilbert.builder.build_errors import BuildFailed, InvalidTemplate
from hilbert.builder.programs import Job, output_of

_SCHEMES: Final = ("https://", "http://", "ssh://", "file://")
_SCP_LIKE = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[A-Za-z0-9._~/-]+")
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,127}")
_SHA: Final = "sha-"
_SETTINGS: Final = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "transfer.bundleURI=false",
    "advice.detachedHead=false",
)


def split_ref(source: str) -> tuple[str, str]:
    """`SOURCE#REF` taken apart; the ref may be empty."""
    url, _, ref = source.partition("#")
    return url, ref


def check_source(url: str) -> str:
    """`url` if git may be asked for it. Raises `InvalidTemplate`."""
    if url.startswith(_SCHEMES) or _SCP_LIKE.fullmatch(url):
        return url
    if url and not url.startswith("-") and "://" not in url and "::" not in url and Path(url).is_dir():
        return str(Path(url).absolute())
    raise InvalidTemplate(
        f"{url[:200]!r} is neither the URL of a git repository nor a folder",
        hint="use an https or ssh URL, USER@HOST:PATH, or a folder on this machine",
    )


def is_repository(folder: Path) -> bool:
    """Whether a folder is the top of a git repository, bare or not."""
    return (folder / ".git").exists() or ((folder / "HEAD").is_file() and (folder / "objects").is_dir())


def clone(url: str, ref: str, target: Path, *, job: Job, env: Mapping[str, str]) -> str:
    """Fetch one version of a repository into `target`, without history where that is possible; its commit.

    `ref` is a branch, a tag, `sha-` and a commit, or empty. No hooks, no submodules, no prompts, no protocols but
    https, http, ssh and files. Raises `InvalidTemplate` and `BuildFailed`.
    """
    if ref and (not _REF.fullmatch(ref) or ".." in ref):
        raise InvalidTemplate(f"{ref[:80]!r} is not the name of a version", hint="name a tag, a branch or sha-COMMIT")
    if shutil.which("git", path=env.get("PATH")) is None:
        raise BuildFailed("git is not installed", hint="install git, or copy the template to ./template/NAME")
    safe = {
        **env,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_ALLOW_PROTOCOL": "https:http:ssh:file",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_SSH_COMMAND": env.get("GIT_SSH_COMMAND", "ssh -oBatchMode=yes"),
    }
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    commit = ref.removeprefix(_SHA) if ref.startswith(_SHA) else ""
    narrow = ["--no-checkout"] if commit else ["--depth", "1", *(["--branch", ref] if ref else [])]
    argv = [
        "git",
        *settings,
        "clone",
        "--quiet",
        "--no-recurse-submodules",
        "--template=",
        *narrow,
        "--",
        url,
        str(target),
    ]
    job.begin(f"fetching {url}")
    if job.run(argv, cwd=target.parent, env=safe) != 0:
        raise BuildFailed(f"cannot fetch {url}{f' at {ref}' if ref else ''}", hint=_hint(job, ref), log=job.tail(10))
    if commit and job.run(["git", *settings, "checkout", "--quiet", commit, "--"], cwd=target, env=safe) != 0:
        raise BuildFailed(f"{url} has no commit {commit}", log=job.tail(10))
    return output_of(["git", "rev-parse", "HEAD"], cwd=target, env=safe) or ""


def _hint(job: Job, ref: str) -> str:
    said = " ".join(job.tail(10)).lower()
    if ref and "not found in upstream" in said:
        return "is it the name of a branch or tag? a commit is written sha-COMMIT"
    if "could not resolve host" in said or "connection refused" in said or "timed out" in said:
        return "is the network up? templates that ship with Hilbert need none: 'hilbert new --list'"
    return ""
