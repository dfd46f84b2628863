"""A generator of mixed tables from `NCSNGenerator`: categories as one-hot columns, argmax back.

``make(df, target, task, seed)`` fits one and returns an object with ``sample(n, random_state)``, as
a harness that compares generators of tables needs it.
"""

import numpy as np
import pandas as pd

from skscore import NCSNGenerator


class OneHotTable:
    """A fitted generator of data frames like the one it was made from."""

    def __init__(self, df: pd.DataFrame, **params: object) -> None:
        self.columns = df.columns
        self.categories = {
            c: pd.Categorical(df[c]).categories
            for c in df
            if not pd.api.types.is_numeric_dtype(df[c])
        }
        self.dtypes = df.dtypes
        self.generator = NCSNGenerator(**params).fit(self._encode(df))

    def _encode(self, df: pd.DataFrame) -> np.ndarray:
        blocks = [
            df[c].to_numpy()[:, None] == self.categories[c].to_numpy()
            if c in self.categories
            else df[[c]].to_numpy(float)
            for c in self.columns
        ]
        return np.hstack(blocks).astype(float)

    def sample(self, n: int, random_state: int | None = None) -> pd.DataFrame:
        """Draw n rows."""
        X = self.generator.sample(n, random_state=random_state)
        columns, j = {}, 0
        for c in self.columns:
            if c in self.categories:
                levels = self.categories[c]
                block = X[:, j : j + len(levels)]
                columns[c] = pd.Categorical.from_codes(block.argmax(1), categories=levels)
                j += len(levels)
            else:
                columns[c] = X[:, j]
                j += 1
        return pd.DataFrame(columns)


def make(df: pd.DataFrame, target: str, task: str, seed: int) -> OneHotTable:
    """Fit the default generator to a table."""
    return OneHotTable(df, random_state=seed)
