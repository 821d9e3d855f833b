"""How fast batches come, and where the time goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.loader.crops.work import Work
    from fusekit.loader.pipeline import Waiting
    from fusekit.loader.settings import LoaderSettings


def make_stats(
    figures: tuple[Work, Waiting, dict[str, float]],
    settings: LoaderSettings,
    times: Sequence[float],
) -> dict[str, float]:
    """Make the figures of :meth:`fusekit.MixtureLoader.stats`.

    Args:
        figures: What the maker of batches counted.
        settings: The loader's.
        times: Seconds at which the last batches were handed out.

    Returns:
        ``images_per_s`` over ``times``; all else since the loader was made: ``batches`` handed
        out, ``images`` decoded, those made ahead included; ``wait_s``, ``wait_share`` and
        ``wait_ms_per_batch`` of the one who takes batches; ``queue_depth`` of ``prefetch``;
        ``threads``, and the time of one of them for an image: ``read_us``, digests included,
        ``decode_us``, stand-ins included, ``other_us``: augmentation, colour planes, the decoded
        cache; ``read_mb``, and ``read_mb_per_s`` at ``images_per_s``; ``cache_hits``, a share;
        ``native``, 1 where runs of crops are decoded by the compiled library; and the counts of
        the cache of decoded crops and of an object store's shards, where there are such.
    """
    work, waiting, more = figures
    seconds = times[-1] - times[0] if len(times) > 1 else 0.0
    rate = (len(times) - 1) * settings.batch_size / seconds if seconds else 0.0
    images, batches = work.crops or 1, waiting.batches or 1
    return {
        "images_per_s": rate,
        "batches": waiting.batches,
        "images": work.crops,
        "wait_s": waiting.waited / 1e9,
        "wait_share": waiting.waited / (waiting.passed or 1),
        "wait_ms_per_batch": waiting.waited / 1e6 / batches,
        "queue_depth": waiting.ready / batches,
        "prefetch": settings.prefetch,
        "threads": settings.threads,
        "read_us": work.read / 1e3 / images,
        "decode_us": work.decode / 1e3 / images,
        "other_us": work.rest / 1e3 / images,
        "read_mb": work.bytes / 1e6,
        "read_mb_per_s": work.bytes / 1e6 / images * rate,
        "cache_hits": work.cached / images,
        **more,
    }
