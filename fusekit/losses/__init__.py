"""Losses and heads: small exact references of the methods that fusekit's data is made for.

Every name is imported when it is first used, so that this package alone needs no torch. Each file
holds one method: a pure function first, then a module where there is something to hold.

Raises:
    MissingExtraError: A name is used and torch is not installed.

Example:
    >>> from fusekit import losses
    >>> "DatasetAwareHead" in losses.__all__, hasattr(losses, "no_such_name")
    (True, False)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fusekit.losses.angular_softmax import ASoftmax as ASoftmax
    from fusekit.losses.angular_softmax import a_softmax_loss as a_softmax_loss
    from fusekit.losses.centre import CentreLoss as CentreLoss
    from fusekit.losses.centre import centre_loss as centre_loss
    from fusekit.losses.contrastive import contrastive_loss as contrastive_loss
    from fusekit.losses.dataset_aware import DatasetAwareHead as DatasetAwareHead
    from fusekit.losses.dataset_classifier import DatasetClassifier as DatasetClassifier
    from fusekit.losses.distillation import EmbeddingDistillation as EmbeddingDistillation
    from fusekit.losses.distillation import (
        embedding_distillation_loss as embedding_distillation_loss,
    )
    from fusekit.losses.distillation import relational_angle_loss as relational_angle_loss
    from fusekit.losses.distillation import relational_distance_loss as relational_distance_loss
    from fusekit.losses.distillation import (
        relational_distillation_loss as relational_distillation_loss,
    )
    from fusekit.losses.evaluation_distillation import (
        EvaluationDistillation as EvaluationDistillation,
    )
    from fusekit.losses.evaluation_distillation import (
        evaluation_distillation_loss as evaluation_distillation_loss,
    )
    from fusekit.losses.margins import arcface_target as arcface_target
    from fusekit.losses.margins import cosface_target as cosface_target
    from fusekit.losses.margins import sphereface_target as sphereface_target
    from fusekit.losses.normalised_softmax import L2Softmax as L2Softmax
    from fusekit.losses.normalised_softmax import NormFace as NormFace
    from fusekit.losses.normalised_softmax import l2_softmax_loss as l2_softmax_loss
    from fusekit.losses.normalised_softmax import least_alpha as least_alpha
    from fusekit.losses.normalised_softmax import least_loss as least_loss
    from fusekit.losses.normalised_softmax import normface_loss as normface_loss
    from fusekit.losses.pairwise_hinge import pairwise_hinge_loss as pairwise_hinge_loss
    from fusekit.losses.range import range_loss as range_loss
    from fusekit.losses.reversal import gradient_reversal as gradient_reversal
    from fusekit.losses.triplet import triplet_loss as triplet_loss
    from fusekit.losses.unknown_identity import cosine_logits as cosine_logits
    from fusekit.losses.unknown_identity import uir_loss as uir_loss

_HOME: Final = {
    "ASoftmax": "angular_softmax",
    "CentreLoss": "centre",
    "DatasetAwareHead": "dataset_aware",
    "DatasetClassifier": "dataset_classifier",
    "EmbeddingDistillation": "distillation",
    "EvaluationDistillation": "evaluation_distillation",
    "L2Softmax": "normalised_softmax",
    "NormFace": "normalised_softmax",
    "a_softmax_loss": "angular_softmax",
    "arcface_target": "margins",
    "centre_loss": "centre",
    "contrastive_loss": "contrastive",
    "cosface_target": "margins",
    "cosine_logits": "unknown_identity",
    "embedding_distillation_loss": "distillation",
    "evaluation_distillation_loss": "evaluation_distillation",
    "gradient_reversal": "reversal",
    "l2_softmax_loss": "normalised_softmax",
    "least_alpha": "normalised_softmax",
    "least_loss": "normalised_softmax",
    "normface_loss": "normalised_softmax",
    "pairwise_hinge_loss": "pairwise_hinge",
    "range_loss": "range",
    "relational_angle_loss": "distillation",
    "relational_distance_loss": "distillation",
    "relational_distillation_loss": "distillation",
    "sphereface_target": "margins",
    "triplet_loss": "triplet",
    "uir_loss": "unknown_identity",
}

__all__ = [
    "ASoftmax",
    "CentreLoss",
    "DatasetAwareHead",
    "DatasetClassifier",
    "EmbeddingDistillation",
    "EvaluationDistillation",
    "L2Softmax",
    "NormFace",
    "a_softmax_loss",
    "arcface_target",
    "centre_loss",
    "contrastive_loss",
    "cosface_target",
    "cosine_logits",
    "embedding_distillation_loss",
    "evaluation_distillation_loss",
    "gradient_reversal",
    "l2_softmax_loss",
    "least_alpha",
    "least_loss",
    "normface_loss",
    "pairwise_hinge_loss",
    "range_loss",
    "relational_angle_loss",
    "relational_distance_loss",
    "relational_distillation_loss",
    "sphereface_target",
    "triplet_loss",
    "uir_loss",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        msg = f"module 'fusekit.losses' has no attribute {name!r}"
        raise AttributeError(msg)
    try:
        module = import_module(f"fusekit.losses.{_HOME[name]}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        from fusekit.errors import MissingExtraError

        raise MissingExtraError("losses", "torch") from None
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
