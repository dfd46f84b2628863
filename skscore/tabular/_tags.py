"""What estimators of mixed tables tell scikit-learn of what they take."""

from typing import Any

__all__ = ["MixedInput"]


class MixedInput:
    """Takes missing cells, strings and categories; to stand before the other bases."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags
