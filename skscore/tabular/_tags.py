"""What estimators of mixed tables tell scikit-learn of what they take, and its checks of labels."""

from collections.abc import Hashable, Sequence
from typing import Any

from sklearn.utils.validation import _check_feature_names, _check_n_features

__all__ = ["MixedInput"]


class MixedInput:
    """Takes missing cells, strings and categories; to stand before the other bases."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    def _check_labels(self, X: Any, of_fit: Sequence[Hashable] | None) -> None:
        """Check the labels of a data frame, which need not be strings, and how many they are.

        Those of fit are compared to; with None they are learnt. Those of an array are positions,
        for which scikit-learn takes any strings.
        """
        labels, reset = list(X.columns), of_fit is None
        are_strings = all(isinstance(label, str) for label in labels)
        if of_fit is None:
            self.__dict__.pop("feature_names_in_", None)
            of_fit = labels
        had_names = reset or hasattr(self, "feature_names_in_")
        if are_strings and (had_names or list(of_fit) == list(range(len(of_fit)))):
            _check_feature_names(self, X, reset=reset)
        elif labels != list(of_fit):
            raise ValueError(
                f"X has the columns {labels}, and fit had {list(of_fit)}; give the same ones in "
                "the same order."
            )
        _check_n_features(self, X, reset=reset)
