"""Axes and types of every annotated function are checked while the tests run."""

import matplotlib
import pytest
import torch
from jaxtyping import install_import_hook

matplotlib.use("Agg")
torch.set_num_threads(1)  # tests run side by side
install_import_hook("quickstudy", "typechecker.checked")


@pytest.fixture(autouse=True)
def same_luck() -> None:
    """Where a test draws from the global generator, it draws the same in every run, whichever tests came before."""
    torch.manual_seed(0)
