"""Takes over the tables of an old web backend when the key service's own are made: revision 0002's for ever.

The old tables are looked at and set aside, the new ones made, the rows read and copied, and what is left of the old
ones put away in the schema ``keybridge_legacy``: all of it in the migration's one transaction. Nothing is
imported from the services, whose code moves on; this stays what it was. The secrets stay as they are, too:
`keybridge db adopt` seals them anew. Each thing that was done is an audit event, from which that command
prints its report.
"""

import sqlalchemy as sa

from migrations.takeover.reading import read_rows
from migrations.takeover.record import record
from migrations.takeover.rows import copy_rows
from migrations.takeover.survey import OldTables, find_old_tables
from migrations.takeover.tables import put_away, set_aside

__all__ = ["OldTables", "fill", "find_old_tables", "put_away", "set_aside"]


def fill(connection: sa.Connection, old: OldTables) -> None:
    """The new tables, from those that were set aside; and the record of it."""
    columns = read_rows(connection, old)
    copy_rows(connection, old)
    record(connection, columns)
