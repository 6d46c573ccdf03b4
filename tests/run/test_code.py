"""The code part of the work store's key."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.run import code
from pipeline.run.code import code_digest, imported_modules

FILES = {
    "stages/__init__.py": "",
    "stages/decode.py": """
from __future__ import annotations
import numpy
import models
from pipeline.video import reader
from pipeline.run.files import write_json

def work():
    from pipeline.video.late import late
    from models.encoders import build
""",
    "models/__init__.py": "",
    "models/encoders/__init__.py": """
from pipeline.tables import build
ENCODERS: dict[str, str] = {"a": "models.encoders.a:make", "b": "models.encoders.b:make"}
""",
    "models/encoders/a.py": "import models.layers.conv\n",
    "models/encoders/b.py": "WIDTH = 1\n",
    "models/layers/__init__.py": "",
    "models/layers/conv.py": "KERNEL = 3\n",
    "pipeline/__init__.py": "",
    "pipeline/tables.py": "",
    "pipeline/unused.py": "",
    "pipeline/video/__init__.py": "",
    "pipeline/video/reader.py": '''
"""Reads."""
from typing import Literal
Mode: type = Literal["slow", "fast"]

def read(x):
    """Read x."""
    # A comment.
    return x + 1
''',
    "pipeline/video/late.py": "def late(): pass\n",
    "pipeline/run/__init__.py": "",
    "pipeline/run/files.py": "write_json = print\n",
}
ENTRY = "models.encoders.a:make"


@pytest.fixture
def change(tmp_path: Path) -> Callable[..., Path]:
    """Writes the code with changes into a new folder (a module is parsed once per process) and returns that."""
    count = 0

    def write(**changes: tuple[str, str]) -> Path:
        nonlocal count
        count += 1
        root = tmp_path / str(count)
        for name, text in FILES.items():
            old, new = changes.get(Path(name).stem, ("", ""))
            assert old in text
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace(old, new) if old else text)
        return root

    return write


def digest(root: Path) -> str:
    return code_digest(root, ["stages.decode", ENTRY])


def test_imports_are_found_wherever_they_stand(change: Callable[..., Path]) -> None:
    assert imported_modules(change(), ["stages.decode"]) == {
        "stages", "stages.decode", "models", "models.encoders", "pipeline", "pipeline.tables", "pipeline.video",
        "pipeline.video.reader", "pipeline.video.late", "pipeline.run", "pipeline.run.files",
    }  # fmt: skip
    assert imported_modules(change(), ["models.encoders.a"]) == {
        "models", "models.encoders", "models.encoders.a", "models.layers", "models.layers.conv", "pipeline",
        "pipeline.tables",
    }  # fmt: skip
    assert imported_modules(change(), ["numpy", "pipeline.nowhere"]) == set()


@pytest.mark.parametrize(
    "same",
    [
        {"reader": ('"""Reads."""', '"""Reads very well."""')},
        {"reader": ('"""Read x."""', "")},
        {"reader": ("# A comment.", "# Another.\n\n")},
        {"reader": ('"slow", "fast"', '"slow", "fast", "new"')},
        {"files": ("print", "repr")},
        {"b": ("1", "2")},
        {"__init__": ('"b": "models.encoders.b:make"', '"c": "models.encoders.c:other"')},
    ],
    ids=["docstring", "function docstring", "comment", "allowed values", "pipeline.run", "entry not chosen", "table"],
)
def test_what_computes_nothing_does_not_count(change: Callable[..., Path], same: dict[str, tuple[str, str]]) -> None:
    if "__init__" in same:
        root = change()
        path = root / "models" / "encoders" / "__init__.py"
        path.write_text(path.read_text().replace(*same["__init__"]))
        assert same["__init__"][1] in path.read_text()
    else:
        root = change(**same)
    assert digest(root) == digest(change())


@pytest.mark.parametrize(
    "other",
    [{"reader": ("x + 1", "x + 2")}, {"late": ("pass", "return 1")}, {"conv": ("3", "5")}, {"a": ("import", "#")}],
    ids=["a line", "an import inside a function", "what the chosen entry imports", "an import less"],
)
def test_what_computes_counts(change: Callable[..., Path], other: dict[str, tuple[str, str]]) -> None:
    assert digest(change(**other)) != digest(change())


def test_the_digest_does_not_know_where_the_checkout_lies(change: Callable[..., Path]) -> None:
    assert digest(change()) == digest(change())
    assert code_digest(change(), ["stages.decode"]) != digest(change())


@pytest.mark.parametrize("package", ["encoders", "heads"])
def test_the_tables_of_this_project_are_seen_as_tables(root: Path, package: str) -> None:
    file = root / "models" / package / "__init__.py"
    assert f'"models.{package}.' in file.read_text()
    assert f"models.{package}." not in code._meaning(str(file))
