"""Fixtures that every test may use."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before anything imports torch; see pipeline.run.process

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real videos and annotations beside the checkout; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "videos" / "MANIFEST.csv").is_file():
        pytest.skip(f"needs the real videos and annotations in {folder}, which is absent")
    return folder


@pytest.fixture(autouse=True)
def keep_denormals() -> Iterator[None]:
    """A stage that runs in this process flushes denormal numbers, which hypothesis does not forgive later tests."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread, for tests that measure its memory or compare results to the last bit."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
