"""Another process that uses a home's server: says ``ready`` and leaves when its input ends.

Arguments: the home, and optionally a directory whose programs it shall take.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from servicekit.embedded_postgres import EmbeddedPostgres, binaries
from servicekit.errors import StartupError


def only_those(root: Path = Path("/")) -> Iterator[Path]:
    """Stands in for the search of the whole machine."""
    yield Path(sys.argv[2])


if len(sys.argv) > 2:
    binaries.candidates = only_those
try:
    with EmbeddedPostgres(Path(sys.argv[1]), settings={"fsync": "off"}) as server:
        server.ensure_database("held")
        print(f"ready {server.url('held')}", flush=True)  # noqa: T201 - its parent reads it
        sys.stdin.read()
except StartupError as error:
    print(f"refused {error}", flush=True)  # noqa: T201 - its parent reads it
