"""params.yaml: every error names file, section, field, value and what is allowed."""

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from pipeline.run.params import (
    ParameterError,
    RunSection,
    Section,
    apply_overrides,
    check_params,
    flatten,
    parse_section,
    read_params,
)


class Snippet(Section):
    frames: int = Field(8, ge=1, le=64)
    window_s: float = Field(2.0, gt=0)


class Frames(Section):
    fps: float = Field(gt=0)
    codec: Literal["jpeg", "png"] = "jpeg"
    sizes: tuple[int, ...] = (64,)
    limit: int | None = None
    snippet: Snippet = Snippet()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"fps": 8, "fsp": 9},
            "unknown parameter frames.fsp = 9; allowed there: codec, fps, limit, sizes, snippet",
        ),
        (
            {"fps": 8, "snippet": {"frame": 1}},
            "unknown parameter frames.snippet.frame = 1; allowed there: frames, window_s",
        ),
        ({}, "frames.fps is missing; allowed: float, > 0"),
        ({"fps": "fast"}, "frames.fps = 'fast': input should be a valid number"),
        ({"fps": -1.5}, "frames.fps = -1.5: input should be greater than 0; allowed: float, > 0"),
        ({"fps": float("nan")}, "frames.fps = nan: input should be"),
        ({"fps": None}, "frames.fps = None: input should be a valid number; allowed: float, > 0"),
        (
            {"fps": 8, "codec": "gif"},
            "frames.codec = 'gif': input should be 'jpeg' or 'png'; allowed: one of 'jpeg', 'png'",
        ),
        ({"fps": 8, "sizes": [64, "x"]}, "frames.sizes.1 = 'x': input should be a valid integer"),
        ({"fps": 8, "sizes": [64, "x"]}, "allowed: tuple[int, ...]"),
        ({"fps": 8, "limit": 1.5}, "frames.limit = 1.5: input should be a valid integer"),
        ({"fps": 8, "limit": 1.5}, "allowed: int or None"),
        ({"fps": 8, "snippet": {"frames": 65}}, "frames.snippet.frames = 65: input should be less than or equal to 64"),
        ({"fps": 8, "snippet": {"frames": 65}}, "allowed: int, >= 1, <= 64"),
        ({"fps": 8, "snippet": 3}, "frames.snippet = 3: input should be"),
    ],
)
def test_one_wrong_field(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as refused:
        parse_section(Frames, "frames", values, "params.yaml")
    assert message in str(refused.value)
    assert str(refused.value).startswith("params.yaml: ")


def test_all_faults_are_told_at_once() -> None:
    raw = {"frames": {"fps": 0, "codec": "gif"}, "heads": {}, "run": {"workers": 0}}
    with pytest.raises(ParameterError) as refused:
        check_params(raw, {"frames": Frames, "run": RunSection}, "params.yaml")
    lines = str(refused.value).splitlines()
    assert len(lines) == 4
    assert all(line.startswith("params.yaml: ") for line in lines)
    assert "unknown section 'heads'; allowed: frames, run" in lines[0]
    assert "run.workers = 0" in lines[3]


def test_right_params_are_frozen_and_a_missing_section_has_its_defaults() -> None:
    sections = check_params({"frames": {"fps": 8}}, {"frames": Frames, "run": RunSection}, "params.yaml")
    assert sections["frames"] == Frames(fps=8.0)
    assert sections["run"] == RunSection()
    with pytest.raises(ValueError, match="frozen"):
        sections["frames"].fps = 9.0  # type: ignore[attr-defined]
    with pytest.raises(ParameterError, match=r"frames.fps is missing"):
        check_params({}, {"frames": Frames}, "params.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "must be a mapping of section names"),
        ("", "must be a mapping of section names"),
        ("frames: 8", "section 'frames' = 8: must be a mapping"),
        ("run: {}\nframes:", "section 'frames' = None: must be a mapping"),
    ],
)
def test_a_file_that_is_no_params_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParameterError) as refused:
        read_params(tmp_path / "params.yaml")
    assert message in str(refused.value)
    assert str(tmp_path / "params.yaml") in str(refused.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"params.yaml: there is no such file"):
        read_params(tmp_path / "params.yaml")


def test_overrides() -> None:
    raw = {"frames": {"fps": 8, "snippet": {"frames": 8}}}
    changed = apply_overrides(
        raw,
        ["frames.fps=10", "frames.sizes=[1, 2]", "frames.snippet.window_s=1.5", "head.name=a=b", "frames.limit=null"],
    )
    assert changed == {
        "frames": {"fps": 10, "sizes": [1, 2], "snippet": {"frames": 8, "window_s": 1.5}, "limit": None},
        "head": {"name": "a=b"},
    }
    assert raw == {"frames": {"fps": 8, "snippet": {"frames": 8}}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("frames.fps", "override 'frames.fps': must have the form section.key=value"),
        ("fps=8", "override 'fps=8': must have the form section.key=value"),
        (".fps=8", "must have the form section.key=value"),
        ("frames.=8", "must have the form section.key=value"),
        ("frames.fps.x=8", "frames.fps is a value, not a group"),
        ("frames.fps=[", "the value is not valid YAML"),
    ],
)
def test_bad_overrides(override: str, message: str) -> None:
    with pytest.raises(ParameterError) as refused:
        apply_overrides({"frames": {"fps": 8}}, [override])
    assert message in str(refused.value)


def test_flatten() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}
