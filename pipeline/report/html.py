"""Rendering of self-contained HTML pages: one Jinja environment, its filters, and pictures as data URIs."""

import base64
import math
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
_SIGNATURES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png"}


def render(template: str, **values: Any) -> str:
    """Fill a template of the ``templates`` folder. Every value is escaped; a name the template lacks is an error."""
    return _environment().get_template(template).render(**values)


def data_uri(picture: bytes) -> str:
    """A JPEG or PNG as a ``data:`` URI.

    Raises:
        ValueError: neither JPEG nor PNG.
    """
    for signature, mime in _SIGNATURES.items():
        if picture.startswith(signature):
            return f"data:{mime};base64,{base64.b64encode(picture).decode()}"
    raise ValueError(f"picture starts with {picture[:4]!r}; expected a JPEG or PNG")


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``; a time before the start is shown as the start."""
    whole = max(round(seconds), 0)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def span(seconds: float | None) -> str:
    """A measured time, as short as it can be read: ``0.4 s``, ``38 s``, ``12 min 05 s``, ``3 h 20 min``."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def percent(value: float | None, digits: int = 1, signed: bool = False) -> str:
    """A share 0..1 in percent, without the sign %; a dash for None and NaN."""
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{100 * value:{'+' if signed else ''}z.{digits}f}"
    return text.replace("-", MINUS)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(data_uri=data_uri, clock=clock, span=span, percent=percent)
    return environment
