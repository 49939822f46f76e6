"""Axes and types of every annotated function are checked while the tests run."""

import matplotlib
import torch
from jaxtyping import install_import_hook

matplotlib.use("Agg")
torch.set_num_threads(1)  # tests run side by side
install_import_hook("quickstudy", "typechecker.checked")
