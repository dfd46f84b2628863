"""Tables of numbers, categories, dates and missing cells.

`TabularEncoder` makes features of columns and columns of features again; `TabularGenerator` learns
tables and draws rows like theirs; `ScoreImputer` fills missing cells, `ScoreOverSampler` balances
classes; `SyntheticDataReport` says how good drawn rows are.
"""

from skscore._groups import FeatureGroup
from skscore.tabular.encoder import TabularEncoder
from skscore.tabular.generator import TabularGenerator
from skscore.tabular.impute import ScoreImputer
from skscore.tabular.oversample import ScoreOverSampler
from skscore.tabular.report import SyntheticDataReport

__all__ = [
    "FeatureGroup",
    "ScoreImputer",
    "ScoreOverSampler",
    "SyntheticDataReport",
    "TabularEncoder",
    "TabularGenerator",
]
