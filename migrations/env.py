"""How Alembic runs here: on the URL it is handed, or for `uv run alembic`, on the one that the settings name."""

from alembic import context

from backend.embedded import database_url
from backend.migrations import IN_TURN, engine_of
from backend.revisions import complete
from backend.settings import StartError, load_settings
from backend.tables import METADATA


def include_name(name: str | None, type_: str, _parents: object) -> bool:
    """Leave every table alone that is not ours: Better Auth's lie in the same database."""
    return type_ != "table" or name in METADATA.tables


def migrate(url: str) -> None:
    with engine_of(url).connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=METADATA,
            include_name=include_name,
            compare_server_default=True,
            process_revision_directives=complete,
        )
        with context.begin_transaction():
            connection.execute(IN_TURN)
            context.run_migrations()


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
