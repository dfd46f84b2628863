import os

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")  # before anything imports matplotlib
if "PYTEST_XDIST_WORKER" in os.environ:
    # Before anything imports torch: as many workers as cores leave each one thread.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items):
    import torch

    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)
