"""Files of the repository outside docs/ that pages link to are part of the site, below repository/.

So one relative link works in the repository and on the site, and `mkdocs build --strict` checks it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, InclusionLevel

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(\]\()([^)#:\s]+)(?=[)#])")
OUTSIDE = "repository/"


def on_files(files: Any, config: Any) -> Any:
    """Take in what the navigation names, what pages link to, and what those link to."""
    named = set(re.findall(rf"{OUTSIDE}[\w./-]+", str(config.nav)))
    wanted = [*named, *(uri for file in files for uri in _linked(file))]
    while wanted:
        uri = wanted.pop()
        source = ROOT / uri.removeprefix(OUTSIDE)
        if uri.startswith(OUTSIDE) and uri not in files.src_uris and source.is_file():
            level = InclusionLevel.UNDEFINED if uri in named else InclusionLevel.NOT_IN_NAV
            new = File.generated(config, uri, abs_src_path=str(source), inclusion=level)
            files.append(new)
            wanted += _linked(new)
    return files


def _linked(file: File) -> list[str]:
    """Where on the site the links of a page lead."""
    if not file.is_documentation_page():
        return []
    text = Path(str(file.abs_src_path)).read_text(encoding="utf-8")
    return [_uri(file.src_uri, target) for _, target in LINK.findall(text)]


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links as the site has them."""
    here = page.file.src_uri

    def on_site(link: re.Match[str]) -> str:
        return link[1] + posixpath.relpath(_uri(here, link[2]), posixpath.dirname(here) or ".")

    return LINK.sub(on_site, markdown)


def _uri(page: str, target: str) -> str:
    """Where on the site a link of a page leads: by its place in the repository."""
    outside = page.startswith(OUTSIDE)
    folder = posixpath.dirname(page.removeprefix(OUTSIDE) if outside else f"docs/{page}")
    path = posixpath.normpath(posixpath.join(folder, target))
    return path.removeprefix("docs/") if path.startswith("docs/") else OUTSIDE + path
