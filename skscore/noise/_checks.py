"""What a range of noise levels and a positive number are, with one wording for each error."""

import math

__all__ = ["check_positive", "check_range"]


def check_range(sigma_min: float, sigma_max: float) -> None:
    """Raise unless 0 < sigma_min < sigma_max < ∞.

    Parameters
    ----------
    sigma_min, sigma_max : float
        The ends of a range of noise levels.

    Raises
    ------
    ValueError
        If they are none.

    Examples
    --------
    >>> check_range(0.01, 10.0)
    """
    if not 0 < sigma_min < sigma_max < math.inf:
        raise ValueError(
            f"sigma_min={sigma_min} and sigma_max={sigma_max} do not bound a range of noise "
            "levels; choose 0 < sigma_min < sigma_max."
        )


def check_positive(name: str, value: float) -> None:
    """Raise unless the value is a positive finite number; the message names it."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name}={value} is not a positive finite number.")
