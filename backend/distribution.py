"""Citus: the tables of a distributed database, each user's rows of all of them on one of its nodes."""

from typing import Any

from sqlalchemy import Connection, text

from backend.database import quoted
from backend.isolation import KEEPERS_TABLES, ROLES
from backend.tables import METADATA

EXTENSION = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')"
# Tables whose key begins with the owner and that are not distributed yet.
LOCAL = """
    SELECT oid::regclass::text, relforcerowsecurity FROM pg_class
    WHERE oid = to_regclass(:name) AND NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = oid)
"""
CANNOT_LOG_IN = "SELECT rolname FROM pg_roles WHERE rolname = ANY (:roles) AND NOT rolcanlogin"


def distribute(connection: Connection) -> None:
    """Distribute the tables that are not yet, and move their rows, in the transaction of the connection.

    Nothing is done where Citus is not installed. The roles of the API are let in, because Citus connects to its
    workers as the role that a request runs as; they have no password of their own.
    """
    if not connection.scalar(text(EXTENSION)):
        return
    for role in connection.scalars(text(CANNOT_LOG_IN), {"roles": list(ROLES)}).all():
        connection.execute(text(f"ALTER ROLE {role} LOGIN"))
    for table in METADATA.sorted_tables:  # a parent before its children
        if table.name in KEEPERS_TABLES:
            continue  # of no user's rows: it stays on the coordinator, with the revision's own
        found: Any = connection.execute(text(LOCAL), {"name": quoted(table.name)}).one_or_none()
        if found is None:
            continue
        name, forced = found
        if forced:  # it would keep even its owner from handing its rows over
            connection.execute(text(f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY"))
        connection.execute(text("SELECT create_distributed_table(:name, 'user_id')"), {"name": name})
        # Else the rows would stay on the coordinator, too, where no erasure finds them.
        connection.execute(text("SELECT truncate_local_data_after_distributing_table(:name)"), {"name": name})
        if forced:
            connection.execute(text(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY"))
