import os

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")  # before anything imports matplotlib


def pytest_collection_modifyitems(items):
    import torch

    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)
