"""Plans of successive steps, made a few at a time."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fusekit.loader.order.order import Order
    from fusekit.loader.order.plan import Plan

_ROWS: Final = 4096  # rows of a run: from there on time goes by the row, not by the call
_MOST: Final = 16


class Planner:
    """Give the plan of any step; the plans of the steps beside it are made with it.

    Whoever goes through the steps pays a third: numpy's cost of a call is shared by a run. Any
    number of threads may ask.

    Args:
        order: The order.
        rank: From 0 to ``world_size - 1``.
        world_size: A divisor of the global batch.
    """

    def __init__(self, order: Order, rank: int, world_size: int) -> None:
        self._order, self._rank, self._world_size = order, rank, world_size
        rows = order.settings.global_batch // world_size
        self._run = max(1, min(_MOST, _ROWS // rows))
        self._plans: dict[int, list[Plan]] = {}
        self._lock = Lock()

    def __call__(self, step: int) -> Plan:
        """Give the plan of a step."""
        run, place = divmod(step, self._run)
        with self._lock:  # the others want the same run, or wait for no longer than it takes
            plans = self._plans.get(run)
            if plans is None:
                first = run * self._run
                steps = range(first, first + self._run)
                plans = self._order.plans(steps, self._rank, self._world_size)
                while len(self._plans) > 1:
                    del self._plans[next(iter(self._plans))]
                self._plans[run] = plans
        return plans[place]
