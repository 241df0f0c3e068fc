"""`hilbert template`: what functions begin with and are built by."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command, Noun

NOUNS: Final = (
    Noun("template", "Templates that functions are made from."),
    Noun("template store", "Templates that can be pulled."),
)

COMMANDS: Final = (
    Command(
        "template list",
        "template.commands:list_templates",
        "List the templates of this project and those that come with Hilbert.",
        ("hilbert template list",),
        ("ls",),
    ),
    Command(
        "template pull",
        "template.commands:pull",
        "Pull templates into ./template from git or a folder.\n\n"
        "The source 'stack' stands for what 'configuration: templates:' in the stack file lists.",
        (
            "hilbert template pull https://example.com/templates.git#v1.2",
            "hilbert template pull ../our-templates",
            "hilbert template pull stack",
        ),
    ),
    Command(
        "template store list",
        "template.commands:store_list",
        "List the templates of the template store.",
        ("hilbert template store list", "hilbert template store list --recommended --output json"),
        ("ls",),
    ),
    Command(
        "template store describe",
        "template.commands:store_describe",
        "Show a template of the template store.",
        ("hilbert template store describe golang-middleware",),
    ),
    Command(
        "template store pull",
        "template.commands:store_pull",
        "Pull a template from the template store; NAME@VERSION pins its version.",
        ("hilbert template store pull golang-middleware", "hilbert template store pull golang-middleware@1.0.0"),
    ),
)
