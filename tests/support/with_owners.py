"""Runs the service that its argument names as a release whose models have one table more, ``owners``."""

import runpy
import sys

from servicekit.database.models import Base
from tests.support.tables import Owner

Owner.metadata.tables["owners"].to_metadata(Base.metadata)
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
