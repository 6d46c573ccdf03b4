"""Windows of feature banks: what is in them, that they are read right, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.bank_windows import BankWindow, WindowRule, index_banks, read_window, stack_windows
from pipeline.run import kinds
from pipeline.run.artifacts import ArtifactError

DIM = 6


def write_bank(path: Path, seconds: int, per_second: Any, dtype: str = "float16", **changed: Any) -> dict[str, Any]:
    """A bank with rows in the middles of seconds; ``per_second`` is a number, or one for each second."""
    rng = np.random.default_rng(seconds)
    t = np.repeat(np.arange(seconds) + 0.5, per_second)
    rows = {
        "t": t,
        "track": np.arange(len(t), dtype=np.int32),
        "label": (np.arange(len(t)) % 2).astype(np.int16),
        "box": np.zeros((len(t), 4), np.float32),
        "score": rng.permutation(len(t)).astype(np.float32) / max(len(t), 1),
        "feature": rng.standard_normal((len(t), DIM)).astype(dtype),
    } | changed
    attributes = {"classes": "person,ball", "encoder": "e", "window_s": 2.0, "duration_s": float(seconds)}
    kinds.BANK.write(path, rows, attributes)
    return rows


def rows_of(window: BankWindow) -> set[bytes]:
    return {row.tobytes() for row in window.features[window.valid]}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_centred_window_holds_the_rows_around_the_instant(tmp_path: Path, dtype: str) -> None:
    rows = write_bank(tmp_path / "a.h5", 700, 3, dtype)  # more than two chunks of rows
    index = index_banks({"a": tmp_path / "a.h5"})
    assert (index.rows, index.dim, index.dtype.name) == (2100, DIM, dtype)
    for instant in (0.0, 1.0, 85.0, 256.0, 400.0, 699.0, 2000.0):
        window = read_window(index, "a", instant, WindowRule(10, 3))
        assert window.features.shape == (30, DIM) and window.features.dtype == dtype
        inside = (rows["t"] >= instant - 5) & (rows["t"] < instant + 5)
        np.testing.assert_array_equal(window.features[window.valid], rows["feature"][inside])
        np.testing.assert_array_equal(window.t[window.valid], rows["t"][inside])
        assert not window.features[~window.valid].any() and not window.t[~window.valid].any()


def test_no_second_gives_more_than_k(tmp_path: Path) -> None:
    rows = write_bank(tmp_path / "a.h5", 40, np.arange(40) % 9)
    index, rule = index_banks({"a": tmp_path / "a.h5"}), WindowRule(20, 4)
    best = read_window(index, "a", 20.0, rule)
    for window in (best, read_window(index, "a", 20.0, rule, np.random.default_rng(0))):
        seconds = np.bincount(window.t[window.valid].astype(int), minlength=40)[10:30]
        np.testing.assert_array_equal(seconds, np.minimum(np.arange(10, 30) % 9, 4))
        assert (np.diff(window.t[window.valid]) >= 0).all()
        assert len(rows_of(window)) == window.valid.sum(), "no row twice"
    expected = set()
    for second in range(10, 30):
        mine = np.flatnonzero(rows["t"] == second + 0.5)
        expected |= {rows["feature"][i].tobytes() for i in mine[np.argsort(-rows["score"][mine])][:4]}
    assert rows_of(best) == expected, "without a generator the best scores"


def test_evaluation_repeats_and_training_draws_every_row_alike(tmp_path: Path) -> None:
    write_bank(tmp_path / "a.h5", 30, 8)
    index, rule = index_banks({"a": tmp_path / "a.h5"}), WindowRule(10, 3)
    first, again = (read_window(index, "a", 15.0, rule) for _ in range(2))
    assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
    rng = np.random.default_rng(0)
    counts: dict[bytes, int] = {}
    for _ in range(400):
        for row in rows_of(read_window(index, "a", 15.0, rule, rng)):
            counts[row] = counts.get(row, 0) + 1
    assert len(counts) == 80, "each of the 8 rows of 10 seconds comes some time"
    assert np.abs(np.array(list(counts.values())) - 400 * 3 / 8).max() < 50, "5 deviations"


def test_a_causal_window_sees_nothing_after_the_instant(tmp_path: Path) -> None:
    rows = write_bank(tmp_path / "a.h5", 60, 2)
    rule = WindowRule(10, 2, "causal")
    index = index_banks({"a": tmp_path / "a.h5"})
    window = read_window(index, "a", 30.0, rule)
    # A row at 28.5 s is of a clip that ends at 29.5; the one at 29.5 saw pictures up to 30.5.
    assert window.t[window.valid].max() == 28.5
    assert window.t[window.valid].min() == 19.5
    assert read_window(index, "a", 29.5, rule).t.max() == 28.5, "a clip that ends just then was seen"
    later = rows["t"] + 1 > 30
    feature = np.where(later[:, None], np.float16(9), rows["feature"])
    write_bank(tmp_path / "b.h5", 60, 2, feature=feature)
    other = read_window(index_banks({"b": tmp_path / "b.h5"}), "b", 30.0, rule)
    assert all(np.array_equal(x, y) for x, y in zip(window, other, strict=True))
    assert not read_window(index, "a", 0.0, rule).valid.any()


def test_classes_and_scores_choose_rows(tmp_path: Path) -> None:
    rows = write_bank(tmp_path / "a.h5", 20, 6)
    index = index_banks({"a": tmp_path / "a.h5"}, min_score=0.5, classes=["ball"])
    window = read_window(index, "a", 10.0, WindowRule(20, 6))
    kept = (rows["score"] >= 0.5) & (rows["label"] == 1)
    np.testing.assert_array_equal(window.features[window.valid], rows["feature"][kept])


def test_empty_banks_and_unknown_videos(tmp_path: Path) -> None:
    write_bank(tmp_path / "a.h5", 5, 0)
    write_bank(tmp_path / "b.h5", 5, 1)
    index, rule = index_banks({"a": tmp_path / "a.h5", "b": tmp_path / "b.h5"}), WindowRule(4, 2)
    batch = stack_windows([read_window(index, video, 2.0, rule) for video in "ab"])
    assert batch.features.shape == (2, 8, DIM) and batch.valid.sum(axis=1).tolist() == [0, 4]
    with pytest.raises(ValueError, match="video 'c' has no bank; 2 videos have one"):
        read_window(index, "c", 2.0, rule)


def test_bad_banks_are_refused(tmp_path: Path) -> None:
    rows = write_bank(tmp_path / "a.h5", 5, 2)
    feature = rows["feature"].copy()
    feature[7, 3] = np.nan
    write_bank(tmp_path / "nan.h5", 5, 2, feature=feature)
    with pytest.raises(ArtifactError, match=r"nan.h5: the feature of row 7 \(3.50 s\) is not finite"):
        index_banks({"a": tmp_path / "a.h5", "nan": tmp_path / "nan.h5"})
    write_bank(tmp_path / "wide.h5", 5, 2, feature=np.zeros((10, 3), np.float16))
    write_bank(tmp_path / "full.h5", 5, 2, "float32")
    for other in ("wide", "full"):
        with pytest.raises(ArtifactError, match=r"features of one form: 6 x float16 in .*a.h5; "):
            index_banks({"a": tmp_path / "a.h5", other: tmp_path / f"{other}.h5"})
    write_bank(tmp_path / "falls.h5", 5, 2, t=rows["t"][::-1])
    with pytest.raises(ArtifactError, match="the time falls after row 1"):
        index_banks({"a": tmp_path / "falls.h5"})
    index = index_banks({"a": tmp_path / "a.h5"})
    write_bank(tmp_path / "a.h5", 6, 2)
    with pytest.raises(ArtifactError, match="was written again since it was indexed"):
        read_window(index, "a", 2.0, WindowRule(4, 2))
    with pytest.raises(ArtifactError, match="there is no bank to index"):
        index_banks({})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((0, 5), "window_s is 0"),
        ((10, 0), "per_second 0"),
        ((10, 5, "past"), "mode is 'past'; allowed: centred, causal"),
    ],
)
def test_wrong_rules_are_named(options: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowRule(*options)
