"""The page: one file, put together from its parts, that loads nothing from anywhere."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib import resources
from typing import NamedTuple

__all__ = ["Page", "page"]


class Page(NamedTuple):
    """The page and what a browser may do with it."""

    body: bytes
    policy: bytes
    """``Content-Security-Policy``: its own scripts and styles by hash, figures from its own origin."""


def _hashes(text: str, tag: str) -> str:
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in found)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


@functools.cache
def page() -> Page:
    """The page, read once."""
    folder = resources.files("mcp_performance.monitor") / "_page_parts"

    def part(name: str) -> str:
        return folder.joinpath(name).read_text(encoding="utf-8")

    text = part("page.html")
    for name in ("uplot.css", "page.css", "advice.css", "uplot.js", "chart.js", "page.js", "advice.js"):
        text = text.replace("{{" + name + "}}", part(name))
    policy = (
        f"default-src 'none'; script-src {_hashes(text, 'script')}; style-src {_hashes(text, 'style')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(text.encode(), policy.encode())
