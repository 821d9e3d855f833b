"""fusekit turns many face-recognition datasets into one training mixture.

Every name here is imported when it is first used, so that ``import fusekit`` stays light.

Example:
    >>> import fusekit
    >>> fusekit.__all__[-1], hasattr(fusekit, "no_such_name")
    ('write_report', False)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fusekit.cards.card import list_cards as list_cards
    from fusekit.curate.activations import filter_unlabeled as filter_unlabeled
    from fusekit.curate.clusters import cluster_dataset as cluster_dataset
    from fusekit.curate.decontaminate import find_contamination as find_contamination
    from fusekit.curate.dedup import find_duplicates as find_duplicates
    from fusekit.curate.embed import embed_dataset as embed_dataset
    from fusekit.curate.forget import forget as forget
    from fusekit.curate.label_noise import find_label_noise as find_label_noise
    from fusekit.curate.overlap import find_overlap as find_overlap
    from fusekit.curate.review import apply_review as apply_review
    from fusekit.errors import FusekitError as FusekitError
    from fusekit.evaluation.evaluate import evaluate as evaluate
    from fusekit.export.mixture import export_mixture as export_mixture
    from fusekit.export.pairs import export_pairs as export_pairs
    from fusekit.ingest.dataset import ingest_dataset as ingest_dataset
    from fusekit.loader.batch import Batch as Batch
    from fusekit.loader.loader import MixtureLoader as MixtureLoader
    from fusekit.loader.trainers.arcface import ArcFaceView as ArcFaceView
    from fusekit.loader.trainers.dataset import MixtureDataset as MixtureDataset
    from fusekit.mixture.build import build_mixture as build_mixture
    from fusekit.mixture.mixture import Mixture as Mixture
    from fusekit.models.registry import get_model as get_model
    from fusekit.models.registry import list_models as list_models
    from fusekit.report.bench_loader import bench_loader as bench_loader
    from fusekit.report.datasets import list_datasets as list_datasets
    from fusekit.report.info import info as info
    from fusekit.report.page import write_report as write_report
    from fusekit.report.review_folder import export_review as export_review
    from fusekit.report.stats import collect_stats as collect_stats
    from fusekit.report.verify import verify_store as verify_store
    from fusekit.store.sql import query as query

    __version__: str

_HOME: Final = {
    "ArcFaceView": "loader.trainers.arcface",
    "Batch": "loader.batch",
    "FusekitError": "errors",
    "Mixture": "mixture.mixture",
    "MixtureDataset": "loader.trainers.dataset",
    "MixtureLoader": "loader.loader",
    "apply_review": "curate.review",
    "bench_loader": "report.bench_loader",
    "build_mixture": "mixture.build",
    "cluster_dataset": "curate.clusters",
    "collect_stats": "report.stats",
    "embed_dataset": "curate.embed",
    "evaluate": "evaluation.evaluate",
    "export_mixture": "export.mixture",
    "export_pairs": "export.pairs",
    "export_review": "report.review_folder",
    "filter_unlabeled": "curate.activations",
    "find_contamination": "curate.decontaminate",
    "find_duplicates": "curate.dedup",
    "find_label_noise": "curate.label_noise",
    "find_overlap": "curate.overlap",
    "forget": "curate.forget",
    "get_model": "models.registry",
    "info": "report.info",
    "ingest_dataset": "ingest.dataset",
    "list_cards": "cards.card",
    "list_datasets": "report.datasets",
    "list_models": "models.registry",
    "query": "store.sql",
    "verify_store": "report.verify",
    "write_report": "report.page",
}

__all__ = [
    "ArcFaceView",
    "Batch",
    "FusekitError",
    "Mixture",
    "MixtureDataset",
    "MixtureLoader",
    "__version__",
    "apply_review",
    "bench_loader",
    "build_mixture",
    "cluster_dataset",
    "collect_stats",
    "embed_dataset",
    "evaluate",
    "export_mixture",
    "export_pairs",
    "export_review",
    "filter_unlabeled",
    "find_contamination",
    "find_duplicates",
    "find_label_noise",
    "find_overlap",
    "forget",
    "get_model",
    "info",
    "ingest_dataset",
    "list_cards",
    "list_datasets",
    "list_models",
    "query",
    "verify_store",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("fusekit")
    if name not in _HOME:
        msg = f"module 'fusekit' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"fusekit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
