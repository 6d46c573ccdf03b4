"""Choosing a model by name from an explicit table of import strings (``"module:function"``)."""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def build(table: Mapping[str, str], kind: str, name: str, options: Mapping[str, Any]) -> Any:
    """Import the builder that ``table`` holds under ``name`` and call it with ``options``.

    Only the chosen entry is imported, so a model's optional dependencies matter only to those who choose it.

    Raises:
        ValueError: ``name`` is not in the table, or an option is unknown or missing; the message lists what is allowed.
    """
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; allowed: {', '.join(sorted(table))}")
    module, _, attribute = table[name].partition(":")
    builder = getattr(import_module(module), attribute)
    signature = inspect.signature(builder)
    try:
        signature.bind(**options)
    except TypeError as error:
        raise ValueError(f"{kind} {name!r}: {error}; its options: {', '.join(signature.parameters)}") from error
    return builder(**options)


def builder(table: Mapping[str, str], kind: str) -> Callable[..., Any]:
    """``builder(table, kind)(name, **options)`` builds an entry, with fresh weights from torch's global generator.

    It raises as :func:`build`.
    """

    def build_named(name: str, **options: Any) -> Any:
        return build(table, kind, name, options)

    return build_named
