"""The database's schema: what Alembic needs to reach its newest revision, from code and from its own command."""

import time
from functools import cache
from typing import TYPE_CHECKING

import psycopg2
from sqlalchemy import Engine, create_engine, pool, text

from backend.settings import ROOT, StartError

if TYPE_CHECKING:
    from alembic.config import Config

    from backend.database import Database

SCRIPTS = ROOT / "migrations"
SECONDS_BETWEEN_TRIES = 0.2
# Several starts at once take turns; the second one finds nothing left to do. The number is any, the same in all.
IN_TURN = text("SELECT pg_advisory_xact_lock(7302544001)")


def _config(url: str) -> "Config":
    from alembic.config import Config  # here, because a start that migrates nothing does not need it

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["url"] = url
    return config


@cache
def head() -> str:
    """Return the newest revision that this code knows."""
    from alembic.script import ScriptDirectory

    return str(ScriptDirectory.from_config(_config("")).get_current_head())


async def current(db: "Database") -> str | None:
    """Return the revision that a database is at."""
    [(there,)] = await db.run("SELECT to_regclass('alembic_version') IS NOT NULL", repeatable=True)
    rows = await db.run("SELECT version_num FROM alembic_version", repeatable=True) if there else []
    return rows[0][0] if rows else None


def engine_of(url: str) -> Engine:
    """Return an engine that keeps no connection."""
    return create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(url), poolclass=pool.NullPool)


def upgrade(url: str, wait_seconds: float) -> None:
    """Bring the database to the newest revision, and distribute its tables where Citus is. Raises StartError."""
    from alembic import command
    from sqlalchemy.exc import DBAPIError

    from backend.distribution import distribute

    _wait_for(url, wait_seconds)
    try:
        command.upgrade(_config(url), "head")
        with engine_of(url).begin() as connection:
            connection.execute(IN_TURN)
            distribute(connection)
    except DBAPIError as error:
        raise StartError(f"The migration failed: {str(error.orig).splitlines()[0]}") from None


def _wait_for(url: str, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            psycopg2.connect(url, connect_timeout=max(2, round(wait_seconds))).close()
            return
        except psycopg2.OperationalError as error:
            if time.monotonic() + SECONDS_BETWEEN_TRIES > deadline:
                reason = " ".join(str(error).split())
                raise StartError(f"DATABASE_URL: no connection within {wait_seconds:g} s: {reason}") from None

            time.sleep(SECONDS_BETWEEN_TRIES)
