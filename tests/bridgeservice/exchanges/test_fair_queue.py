"""A queue that serves those who wait by turns."""

from asyncio import Future, get_running_loop

import pytest

from bridgeservice.exchanges import fair_queue
from bridgeservice.exchanges.fair_queue import FairQueue


class Waiting:
    """A queue, and in which order those in it are served."""

    def __init__(self) -> None:
        self.queue = FairQueue()
        self._turns: dict[Future[None], str] = {}

    def join(self, *askers: str, cost: float = 1.0) -> None:
        for asker in askers:
            turn = get_running_loop().create_future()
            self._turns[turn] = asker
            self.queue.join(turn, asker, cost)

    def serve(self, times: int) -> list[str]:
        served = []
        for _ in range(times):
            before = {turn for turn in self._turns if turn.done()}
            self.queue.serve()
            served += [asker for turn, asker in self._turns.items() if turn.done() and turn not in before]
        return served


async def test_one_who_is_alone_is_served_in_his_order_and_others_by_turns() -> None:
    waiting = Waiting()
    waiting.join("a", "a", "a", "a", "b", "b", "c")
    assert waiting.serve(7) == ["a", "b", "c", "a", "b", "a", "a"]


async def test_one_who_comes_late_stands_behind_nobody_s_second() -> None:
    waiting = Waiting()
    waiting.join(*["a"] * 100)
    assert waiting.serve(10) == ["a"] * 10
    assert waiting.queue.ahead_of("a") == 90
    assert waiting.queue.ahead_of("b") == 0
    waiting.join("b", "b")
    assert waiting.serve(4) == ["b", "a", "b", "a"]


async def test_a_share_is_one_of_what_things_cost_and_not_of_how_many_they_are() -> None:
    waiting = Waiting()
    waiting.join(*["dear"] * 3, cost=10)
    waiting.join(*["cheap"] * 20)
    served = waiting.serve(15)
    assert served.count("dear") == 2
    assert waiting.queue.cost == 1 * 10 + 7


async def test_nobody_pays_later_for_what_he_had_while_nobody_else_wanted_it() -> None:
    waiting = Waiting()
    waiting.join(*["a"] * 50)
    waiting.serve(50)
    waiting.join("a", "b", "a", "b")
    assert waiting.serve(4) == ["a", "b", "a", "b"]


async def test_who_leaves_or_was_cancelled_uses_up_nothing() -> None:
    queue = FairQueue()
    left, cancelled, stays = (get_running_loop().create_future() for _ in range(3))
    for turn in (left, cancelled, stays):
        queue.join(turn, "a", 5)
    queue.leave(left)
    cancelled.cancel()
    assert [queue.serve(), queue.serve()] == [0, 5]
    assert stays.done()
    assert not queue


async def test_a_turn_comes_when_the_first_of_those_who_share_it_has_his() -> None:
    queue = FairQueue()
    turns = [get_running_loop().create_future() for _ in range(10)]
    for turn in turns:
        queue.join(turn, "a", 1)
    shared = turns[-1]
    queue.join(shared, "b", 1)
    queue.join(shared, "b", 1)  # again, and no better than before
    queue.join(shared, "a", 1)
    assert len(queue) == 11
    assert [queue.serve(), queue.serve()] == [1, 1]
    assert shared.done()
    assert sum(queue.serve() for _ in range(9)) == 8


async def test_those_who_had_their_share_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_queue, "_FEW", 10)
    waiting = Waiting()
    waiting.join(*["greedy"] * 200)
    for number in range(60):
        waiting.join(f"passing {number}")
        waiting.serve(3)
    assert waiting.queue
    assert len(waiting.queue._ends) < 15
