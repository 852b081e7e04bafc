"""The database's schema: what Alembic needs to reach its newest revision, from code and from its own command."""

import time
from functools import cache
from typing import TYPE_CHECKING

import psycopg2

from backend.settings import ROOT, StartError

if TYPE_CHECKING:
    from alembic.config import Config

    from backend.database import Database

SCRIPTS = ROOT / "migrations"
SECONDS_BETWEEN_TRIES = 0.2


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


def upgrade(url: str, wait_seconds: float) -> None:
    """Bring the database to the newest revision; several at once take turns. Raises StartError."""
    from alembic import command
    from sqlalchemy.exc import DBAPIError

    _wait_for(url, wait_seconds)
    try:
        command.upgrade(_config(url), "head")
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
