"""How Alembic runs here: on the URL it is handed, or for `uv run alembic`, on the one that the settings name."""

import psycopg2
from alembic import context
from sqlalchemy import create_engine, pool, text

from backend.embedded import database_url
from backend.revisions import complete
from backend.settings import StartError, load_settings
from backend.tables import METADATA

LOCK = 7_302_544_001  # any number that is the same in every process that migrates


def include_name(name: str | None, type_: str, _parents: object) -> bool:
    """Leave every table alone that is not ours: Better Auth's lie in the same database."""
    return type_ != "table" or name in METADATA.tables


def migrate(url: str) -> None:
    engine = create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(url), poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=METADATA,
            include_name=include_name,
            compare_server_default=True,
            process_revision_directives=complete,
        )
        with context.begin_transaction():
            # Several starts at once take turns; the second one finds nothing left to do.
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            context.run_migrations()
    engine.dispose()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=METADATA, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif "url" in context.config.attributes:
    migrate(context.config.attributes["url"])
else:
    try:
        with database_url(load_settings()) as configured:
            migrate(configured)
    except StartError as error:
        raise SystemExit(str(error)) from None
