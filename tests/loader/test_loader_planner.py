"""Plans made a few at a time are those that the order gives one by one."""

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st
from support.orders import drawn, every_kind

from fusekit.loader.order.planner import Planner

NEAR = st.lists(st.integers(0, 60), min_size=1, max_size=12)


def content(plan):
    return drawn(plan), plan.rows.tolist(), plan.keys.tolist(), plan.n_labeled, plan.parts


@given(every_kind(), st.one_of(st.integers(0, 2000), st.integers(2**63, 2**70)), NEAR)
def test_a_planner_gives_the_plan_of_any_step_in_any_order_to_any_thread(case, start, offsets):
    order, world = case
    for rank in {0, world - 1}:
        planner = Planner(order, rank, world)
        steps = [start + offset for offset in offsets]
        with ThreadPoolExecutor(3) as pool:
            plans = list(pool.map(planner, steps))
        for step, plan in zip(steps, plans, strict=True):
            assert content(plan) == content(order.plan(step, rank, world))
