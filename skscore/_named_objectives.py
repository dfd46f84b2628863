r"""The objectives by name: the parameters of each, and the loss a network is trained on.

Those of clean data learn ∇log p itself; the blurred ones learn ∇log p_σ at one noise level σ.
"""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from skscore._batches import Rows
from skscore._losses import (
    DenoisingLoss,
    ExplicitLoss,
    FiniteDifferenceLoss,
    ImplicitLoss,
    ParzenLoss,
    RowLoss,
    SlicedLoss,
)
from skscore.divergence import PROBE_LAWS
from skscore.noise import FixedSigma

__all__ = ["BLURRED", "PARAMETERS", "check_objective_params", "make_loss", "score_in_units"]

_PROBES = ("n_probes", "probes")
PARAMETERS: dict[str, tuple[str, ...]] = {
    "explicit": ("target",),
    "implicit": (),
    "sliced": _PROBES,
    "sliced_vr": _PROBES,
    "finite_difference": (*_PROBES, "epsilon"),
    "denoising": (),
    "denoising_control_variate": (),
    "parzen": (),
}
BLURRED = ("denoising", "denoising_control_variate", "parzen")


def check_objective_params(objective: str, params: Any) -> dict[str, Any]:
    """Return the parameters of an objective; raise if one is not known, missing or out of range.

    Examples
    --------
    >>> check_objective_params("sliced", {"n_probes": 2})
    {'n_probes': 2}
    """
    given = dict(params or {})
    known = PARAMETERS[objective]
    unknown = sorted(set(given) - set(known))
    if unknown:
        takes = f"takes {', '.join(known)}" if known else "takes none"
        raise ValueError(
            f"objective_params={given!r} has {', '.join(map(repr, unknown))}, but "
            f"objective={objective!r} {takes}; leave out what it does not take."
        )
    if objective == "explicit" and not callable(given.get("target")):
        raise ValueError(
            "objective='explicit' compares with a known score; give it as "
            "objective_params={'target': function}, which maps rows (n, d) in the units of X to "
            "scores (n, d)."
        )
    n_probes: Any = given.get("n_probes", 1)
    epsilon: Any = given.get("epsilon", 1.0)
    if isinstance(n_probes, bool) or not isinstance(n_probes, Integral) or n_probes < 1:
        raise ValueError(f"n_probes={n_probes!r} directions have no mean; give an integer from 1.")
    if given.get("probes", PROBE_LAWS[0]) not in PROBE_LAWS:
        raise ValueError(
            f"probes={given['probes']!r} is no law of probes; give one of {', '.join(PROBE_LAWS)}."
        )
    is_number = isinstance(epsilon, Real) and not isinstance(epsilon, bool)
    if not (is_number and 0 < float(epsilon) < math.inf):
        raise ValueError(
            f"epsilon={epsilon!r} is no step of a finite difference; give a positive number, such "
            "as 0.003, in units of the noise level sigma."
        )
    return given


def make_loss(
    objective: str,
    params: dict[str, Any],
    *,
    sigma: float,
    sigma_data: float,
    rows: Rows,
    target: Callable[[Tensor], Tensor],
) -> RowLoss:
    """Return the loss of an objective.

    Parameters
    ----------
    objective : str
        A key of ``PARAMETERS``.
    params : dict
        As checked by :func:`check_objective_params`.
    sigma : float
        The noise level of a blurred objective.
    sigma_data : float
        Root mean square of the standard deviations of the features.
    rows : Rows
        What is trained on: the centres of "parzen".
    target : callable (n, d) -> (n, d)
        The known score of "explicit", in the units of the rows.
    """
    if objective == "explicit":
        return ExplicitLoss(target)
    if objective == "implicit":
        return ImplicitLoss()
    if objective == "finite_difference":
        return FiniteDifferenceLoss(**params)
    if objective in ("sliced", "sliced_vr"):
        return SlicedLoss(**params, variance_reduction=objective == "sliced_vr")
    law = FixedSigma(sigma)
    if objective == "parzen":
        positive = rows.weights > 0
        return ParzenLoss(law, sigma_data, rows.values[positive], rows.weights[positive])
    if objective == "denoising_control_variate":
        return DenoisingLoss(law, sigma_data, control_variate=True)
    return DenoisingLoss(law, sigma_data, mirrored=True)


def score_in_units(
    target: Callable[[Any], Any],
    to_x: Callable[[Any], Any],
    scale: Any,
    varying: Any,
) -> Callable[[Tensor], Tensor]:
    """Return a user's score of rows x as one of rows z, x = μ + scale z, of varying features."""

    def target_z(z: Tensor) -> Tensor:
        X = to_x(z.double().cpu().numpy())
        score = torch.as_tensor(target(X))
        if score.shape != X.shape or not score.isfinite().all():
            raise ValueError(
                f"target returned {tuple(score.shape)} for rows of shape {X.shape}; the known "
                "score has the shape of the rows, and is finite."
            )
        return (score[:, varying] * torch.as_tensor(scale[varying])).to(z)

    return target_z
