"""What torch keeps for a whole process, changed for a while: its threads and its global generator.

More threads do not help small networks: their matrix products are too small to share, threads that
wait for a busy core hold up the others, and a sum that is split among threads has other last bits.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

__all__ = ["seeded_globally", "torch_threads"]

_generator_lock = threading.RLock()


@contextmanager
def torch_threads(n_threads: int | None) -> Iterator[None]:
    """Let torch use so many threads in a block; None leaves them as they are.

    Examples
    --------
    >>> with torch_threads(1):
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    if n_threads is None or n_threads == before:
        yield
        return
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded_globally(seed: int, *, alone: bool = False) -> Iterator[None]:
    """Seed torch's global generator for a block, for what draws from no other; give it back after.

    Alone, no other thread seeds it or gives it back meanwhile.

    Examples
    --------
    >>> with seeded_globally(0):
    ...     a = torch.rand(1)
    >>> with seeded_globally(0):
    ...     b = torch.rand(1)
    >>> bool(a == b)
    True
    """
    with _generator_lock if alone else nullcontext():
        with _generator_lock:
            before = torch.get_rng_state()
            torch.manual_seed(seed)
        try:
            yield
        finally:
            with _generator_lock:
                torch.set_rng_state(before)
