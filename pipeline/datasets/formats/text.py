"""Reading text files with their lines: CSV rows with numbers, JSON with the line of any value; plain or gzipped."""

import csv
import gzip
import io
import json
import json.scanner
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.datasets.formats.common import FormatError


def read_text(path: Path) -> str:
    """The file's text (UTF-8, a byte order mark is dropped), unpacked if it is gzipped.

    Raises:
        FormatError: no such file, a broken gzip file, or not UTF-8.
    """
    try:
        raw = Path(path).read_bytes()
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FormatError(f"{path}: there is no such file") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FormatError(f"{path} is a broken gzip file: {error}") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not UTF-8 text: {error}") from error


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers; raises as :func:`read_text`."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            yield number, line


def read_table(path: Path, columns: Sequence[str], delimiter: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV with a header, each with its line and as a mapping; a row of too few fields lacks the last ones.

    Raises:
        FormatError: as :func:`read_text`, or the header lacks one of ``columns``.
    """
    reader = csv.reader(io.StringIO(read_text(path)), delimiter=delimiter)
    header = [name.strip() for name in next(reader, [])]
    for name in columns:
        if name not in header:
            raise FormatError(f"{path}: line 1: no column {name!r}; there are {', '.join(header) or 'none'}")
    for row in reader:
        if row:
            yield reader.line_num, dict(zip(header, (value.strip() for value in row), strict=False))


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV without a header, each with its line; raises as :func:`read_text`."""
    reader = csv.reader(io.StringIO(read_text(path)))
    for row in reader:
        if row:
            yield reader.line_num, row


def read_json(path: Path, on_repeated_key: Callable[[str], None] | None = None) -> Any:
    """Any JSON value; ``on_repeated_key`` is told of keys that an object has twice (the last one counts).

    Raises:
        FormatError: as :func:`read_text`, or not JSON.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(items)
        if len(value) < len(items) and on_repeated_key:
            seen = set()
            for key, _ in items:
                if key in seen:
                    on_repeated_key(key)
                seen.add(key)
        return value

    try:
        return json.loads(read_text(path), object_pairs_hook=pairs if on_repeated_key else None)
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from error


def read_object(path: Path, on_repeated_key: Callable[[str], None] | None = None) -> dict[str, Any]:
    """A JSON object; raises as :func:`read_json`, or if the top level is something else."""
    data = read_json(path, on_repeated_key)
    if not isinstance(data, dict):
        raise FormatError(f"{path}: the top level is no object")
    return data


class JsonLines:
    """Lines of the values of a JSON file, by their path of keys and indices; parsed anew, when first asked for.

    Slow (Python's own scanner), so readers ask only where something is wrong.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: dict[tuple[str | int, ...], int] | None = None

    def __call__(self, *place: str | int) -> int | None:
        """The line on which the value at ``place`` begins, or its nearest parent's that is there."""
        lines = self._all()
        while place and place not in lines:
            place = place[:-1]
        return lines.get(place)

    def of_video(self, id_: str) -> int | None:
        """The line of a video in the layouts that have it as a key, at the top or below ``database``."""
        lines = self._all()
        return lines.get((id_,)) or lines.get(("database", id_))

    def _all(self) -> dict[tuple[str | int, ...], int]:
        if self._lines is None:
            self._lines = _value_lines(read_text(self._path))
        return self._lines


def _value_lines(text: str) -> dict[tuple[str | int, ...], int]:
    """Line of every object and array by its path; of a plain value its parent's line stands."""
    starts = [0]
    starts += [at + 1 for at, letter in enumerate(text) if letter == "\n"]
    decoder = json.JSONDecoder()
    parse_object, parse_array = json.decoder.JSONObject, json.decoder.JSONArray  # type: ignore[attr-defined]
    begins: dict[int, int] = {}  # id of a container: where it begins

    def parsed_object(state: tuple[str, int], *rest: Any) -> Any:
        value, end = parse_object(state, *rest)
        begins[id(value)] = state[1] - 1
        return value, end

    def parsed_array(state: tuple[str, int], *rest: Any) -> Any:
        value, end = parse_array(state, *rest)
        begins[id(value)] = state[1] - 1
        return value, end

    decoder.parse_object = parsed_object  # type: ignore[attr-defined]
    decoder.parse_array = parsed_array  # type: ignore[attr-defined]
    decoder.scan_once = json.scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]
    root = decoder.decode(text)
    lines: dict[tuple[str | int, ...], int] = {}
    _walk(root, (), begins, starts, lines)
    return lines


def _walk(
    value: Any,
    place: tuple[str | int, ...],
    begins: dict[int, int],
    starts: list[int],
    lines: dict[tuple[str | int, ...], int],
) -> None:
    if isinstance(value, dict | list):
        lines[place] = bisect_right(starts, begins[id(value)])
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _walk(item, (*place, key), begins, starts, lines)
