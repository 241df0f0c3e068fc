"""What MkDocs does not do by itself: pages from the repository's root, and folders in the navigation. A hook of mkdocs.yml.

A folder in `nav` (a value that ends in a slash) becomes the list of its pages, so a new page needs no second entry.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "license.txt",
}
# A link of Markdown, or the address of an image in HTML; not what follows a scheme or stands alone as an anchor.
LINK = re.compile(r"(\]\(|\bsrc(?:set)?=\")(?![a-z]+:|#)([^)#\s\"]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.nav = _filled(config.nav, Path(config.docs_dir))
    return config


def _filled(entry: Any, docs: Path) -> Any:
    if isinstance(entry, list):
        return [_filled(item, docs) for item in entry]
    if isinstance(entry, dict):
        return {title: _filled(value, docs) for title, value in entry.items()}
    if entry.endswith("/"):
        pages = (path.relative_to(docs).as_posix() for path in (docs / entry).glob("*.md"))
        return sorted(pages, key=lambda page: (not page.endswith("/README.md"), page))
    return entry


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=moved(text, "") if page.endswith(".md") else text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of a page below docs/ to the repository's root lead to the site's copy."""
    if page.file.generated_by:
        return markdown
    return moved(markdown, posixpath.join("docs", posixpath.dirname(page.file.src_uri)))


def moved(markdown: str, folder: str) -> str:
    """The same text with its links as the site has them; `folder` is where the text stands in the repository."""

    def move(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[2]))
        place = PAGES.get(target, target.removeprefix("docs/"))
        return match[1] + posixpath.relpath(place, folder.removeprefix("docs").removeprefix("/") or ".")

    return LINK.sub(move, markdown)
