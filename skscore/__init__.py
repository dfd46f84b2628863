"""Score matching and score-based generative models as scikit-learn estimators."""

from skscore.denoising import DenoisingScoreEstimator
from skscore.denoising_cv import DenoisingScoreEstimatorCV
from skscore.density import ScoreMatchingDensity
from skscore.ncsn import NCSNGenerator
from skscore.pipeline import GenerativePipeline, make_generative_pipeline

__all__ = [
    "DenoisingScoreEstimator",
    "DenoisingScoreEstimatorCV",
    "GenerativePipeline",
    "NCSNGenerator",
    "ScoreMatchingDensity",
    "make_generative_pipeline",
]
__version__ = "0.1.0"
