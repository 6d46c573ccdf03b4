"""What every page of the report must hold to."""

from collections.abc import Callable
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

VOID = {"meta", "link", "img", "input", "br", "source"}


class _Page(HTMLParser):
    """Collects tags, texts and references, and checks that tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="session")
def read_page() -> Callable[[str], _Page]:
    """Parse a page; it must be balanced, load nothing from elsewhere and have left nothing unfilled."""

    def read(html: str) -> _Page:
        page = _Page()
        page.feed(html)
        page.close()
        assert page.open == []
        assert html.startswith("<!doctype html>")
        for address in page.references:
            assert address.startswith("data:") or "//" not in address, address
        for outside in ("http:", "https:", "@import", "url(", "{{", "{%"):
            assert outside not in html, outside
        return page

    return read


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """A small picture."""
    picture = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    return cv2.imencode(".jpg", picture)[1].tobytes()
