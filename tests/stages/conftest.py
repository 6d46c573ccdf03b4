"""Stages set up their process; here other tests share it."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def torch_as_before() -> Iterator[None]:
    """Stages set up their process: threads, deterministic algorithms, denormal numbers. Other tests share it here."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    torch.set_flush_denormal(False)
