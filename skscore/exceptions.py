"""Warnings and errors of their own kind, so that each can be told from the others."""

__all__ = [
    "NoOverlapError",
    "OverfittingWarning",
    "SeparatedModesWarning",
    "TiedValuesWarning",
    "UnreliableNormalizerWarning",
]


class TiedValuesWarning(UserWarning):
    """Data with rounded or repeated values, on which score matching has no minimum."""


class SeparatedModesWarning(UserWarning):
    """Data with modes so far apart that scores without noise do not know their weights."""


class OverfittingWarning(UserWarning):
    """A score that held-out rows find too large, or a density that is too small there."""


class UnreliableNormalizerWarning(UserWarning):
    """A log normaliser that is estimated from draws of which few, or none, lie in the model."""


class NoOverlapError(ValueError):
    """Draws of a model and of a proposal so far apart that no bridge joins them."""
