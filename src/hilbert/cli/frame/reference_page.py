"""The reference page of the command line, written from the commands."""

from __future__ import annotations

from hilbert.cli.frame.command import Command
from hilbert.cli.frame.command_help import describe_flag, page_of, spell
from hilbert.cli.frame.commands import NOUNS, SECTIONS

_HEAD = """# Command line

Generated from the commands by `make docs`.

Data goes to standard output and everything else to standard error. Progress and remarks appear only at a terminal.
Exit status: 0 success, 1 failure, 2 wrong usage, 3 the platform could not start, 130 interrupted.
Flags are written as in OpenFaaS's command line: `--replace`, `--replace=false`, `-n dev`, `-n=dev`; `--` ends them.

The gateway is the first of `--gateway`, the stack file's `provider.gateway` (unless it is the default), `OPENFAAS_URL`, the gateway that `hilbert up` started on this machine, and `http://127.0.0.1:8080`.
Credentials are the first of `--token`, those of the gateway that `hilbert up` started on this machine, and what `hilbert login` saved in `~/.openfaas/config.yml`.

| variable | meaning |
|---|---|
| `OPENFAAS_URL` | gateway |
| `OPENFAAS_CONFIG` | folder of `config.yml`, instead of `~/.openfaas` |
| `CI` | `true` or `1`: that folder is `./.openfaas` |
| `OPENFAAS_STORE` | catalogue of the function store |
| `OPENFAAS_TEMPLATE_STORE_URL` | catalogue of the template store |
| `OPENFAAS_PREFIX` | prefix of images that `new` writes |
| `OPENFAAS_REMOTE_BUILDER`, `OPENFAAS_PAYLOAD_SECRET`, `OPENFAAS_BUILDER_PUBLIC_KEY` | the flags of `publish` with these names |
| `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` | proxies; never for loopback |
| `SSL_CERT_FILE`, `SSL_CERT_DIR` | certificates to trust |
| `FAAS_DEBUG` | `1`: write every request to standard error, without credentials, and show the traceback of a bug in the command line; `OPENFAAS_DUMP_HTTP=true` does only the first |
| `NO_COLOR` | no colours |
| `HILBERT_STATE_DIR` | the state directory of the platform on this machine; every variable in [settings.md](settings.md) works, too |
"""


def render() -> str:
    """docs/reference/cli.md."""
    lines = [_HEAD]
    aliases = ", ".join(f"`{alias}` for `{noun.name}`" for noun in NOUNS for alias in noun.aliases)
    lines.append(f"Short names: {aliases}.\n")
    for title, commands in SECTIONS.items():
        shown = [command for command in commands if not command.hidden]
        if not shown:
            continue
        lines.append(f"## {title}\n")
        for command in shown:
            lines += _section(command)
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(command: Command) -> list[str]:
    page = page_of(command)
    lines = [f"### hilbert {command.path}\n", f"{command.help}\n"]
    if command.aliases:
        lines.append(f"Aliases: {', '.join(f'`{alias}`' for alias in command.aliases)}.\n")
    lines += ["```sh", *command.examples, "```\n", f"Usage: `{page.usage}`\n"]
    described = [*(word for word in page.words if word.help), *page.flags]
    if described:
        lines += ["| flag | meaning |", "|---|---|"]
        lines += [f"| `{spell(flag)}` | {describe_flag(flag).replace('|', '&#124;')} |" for flag in described]
        lines.append("")
    return lines
