"""TradingBridge as it would be if kraken took no client order ids, so that orders there are found by their looks.

And in no hurry to spare the exchanges: their rate limits would make a test wait.
"""

import sys
from dataclasses import replace

from bridgeservice.__main__ import ONE_PROCESS_BECAUSE, serve
from bridgeservice.exchanges.options import Options
from bridgeservice.settings import BridgeServiceSettings
from servicekit import command_line
from servicekit.catalogue import Catalogue
from tests.support.exchanges import QUICK

NAMELESS = "kraken"


class QuickSettings(BridgeServiceSettings):
    """The settings, but for the exchanges' rates."""

    def exchange_options(self, catalogue: Catalogue) -> Options:
        return replace(super().exchange_options(catalogue), rate_share=QUICK.rate_share)


def main() -> int:
    from bridgeservice.exchanges import client_ids

    client_ids.TABLE = {name: ids for name, ids in client_ids.TABLE.items() if name != NAMELESS}
    return command_line.main(
        "bridgeservice",
        QuickSettings,
        serve,
        about="TradingBridge, for a test.",
        one_process_because=ONE_PROCESS_BECAUSE,
    )


if __name__ == "__main__":
    sys.exit(main())
