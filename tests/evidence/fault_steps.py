"""The steps of a fault run, drawn from a seed before anything happens: so a seed repeats them."""

import random
from dataclasses import dataclass
from enum import StrEnum

EXCHANGES = ("kraken", "binance", "paper")
LABELS = ("", "main")
CLIENTS = 2
REPLICAS = 2


class What(StrEnum):
    """What a caller does, or what befalls the services."""

    ADD = "add"
    ROTATE = "rotate"
    DELETE = "delete"
    UNDELETE = "undelete"
    DISABLE = "disable"
    ENABLE = "enable"
    REINITIALIZE = "reinitialize"
    REINITIALIZE_ALL = "reinitialize all of the client"
    READ = "read balances"

    KILL_BRIDGE = "kill the bridge"
    KILL_SERVICE = "kill a KeyService"
    CUT = "cut the connection"
    BLOCK = "refuse connections"
    HOLD = "hold what is sent to the bridge"
    MUTE = "lose what the bridge answers"
    SLOW_EXCHANGE = "make the exchange slow"


CHANCES = {
    What.ADD: 8,
    What.ROTATE: 7,
    What.DELETE: 4,
    What.UNDELETE: 3,
    What.DISABLE: 3,
    What.ENABLE: 3,
    What.REINITIALIZE: 2,
    What.REINITIALIZE_ALL: 1,
    What.READ: 3,
}
"""How often callers do what, relatively."""
FAULTS = tuple(what for what in What if what not in CHANCES)
_SHARE_OF_FAULTS = 0.14
_LONGEST_PAUSE = 0.1
_LONGEST_FAULT = 10
_CHANCE_TO_VERIFY = 0.3
# That a step is about the same slot as the one before, and does not wait for it: changes of a key should meet often.
_CHANCE_TO_FOLLOW = 0.4
_CHANCE_TO_MEET = 0.4
# The same while one replica is not heard, or hears nothing: then what it began can be overtaken by the other one.
_WHILE_HELD = 0.8


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for a key: so names come again, and a key finds the connector of another one that went before it."""

    client: int
    exchange: str
    label: str

    @property
    def connector_name(self) -> str:
        return f"{self.exchange}:{self.label}" if self.label else self.exchange


SLOTS = tuple(
    Slot(client, exchange, label) for client in range(CLIENTS) for exchange in EXCHANGES for label in LABELS
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step. What is of no use to it is passed over."""

    number: int
    what: What
    slot: Slot
    replica: int
    verify: bool
    alone: bool
    """Whether it waits for what is under way with the same slot."""
    lasts: int
    """For how many steps a fault goes on."""
    pause: float
    """How many seconds to wait before it; none before half of them, so that they come in bursts."""

    def __str__(self) -> str:
        if self.what is What.KILL_SERVICE or self.what is What.CUT:
            return f"{self.number}. {self.what} ({self.replica})"
        if self.what in FAULTS:
            return f"{self.number}. {self.what} ({self.replica}) for {self.lasts} steps"
        how = f"{', verified' if self.verify else ''}{'' if self.alone else ', at once'}"
        return (
            f"{self.number}. {self.what} {self.slot.client}/{self.slot.connector_name} by {self.replica}{how}"
        )


def draw(seed: int, count: int) -> list[Step]:
    """So many steps, each fault among them at least once."""
    chance = random.Random(seed)  # noqa: S311 - it has to be repeatable, and guards nothing
    each = max(1, round(count * _SHARE_OF_FAULTS / len(FAULTS)))
    kinds = [what for what in FAULTS for _ in range(each)]
    kinds += chance.choices(list(CHANCES), list(CHANCES.values()), k=max(0, count - len(kinds)))
    chance.shuffle(kinds)
    steps: list[Step] = []
    held: Step | None = None
    for number, what in enumerate(kinds, 1):
        if held is not None and number > held.number + held.lasts:
            held = None
        follows = bool(steps) and chance.random() < (_CHANCE_TO_FOLLOW if held is None else _WHILE_HELD)
        steps.append(
            Step(
                number=number,
                what=what,
                slot=steps[-1].slot if follows else chance.choice(SLOTS),
                replica=chance.randrange(REPLICAS),
                verify=chance.random() < _CHANCE_TO_VERIFY,
                alone=chance.random() > (_CHANCE_TO_MEET if held is None else _WHILE_HELD),
                lasts=chance.randint(1, _LONGEST_FAULT),
                pause=max(0.0, chance.uniform(-_LONGEST_PAUSE, _LONGEST_PAUSE)),
            )
        )
        if what in (What.HOLD, What.MUTE):
            held = steps[-1]
    return steps
