"""Writing the next revision of the database's schema from the tables that are declared."""

import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from alembic import command
from alembic.autogenerate import renderers
from alembic.operations import ops
from alembic.util import CommandError
from sqlalchemy import Enum, text

from backend import migrations
from backend.settings import StartError
from backend.tables import METADATA

LABELS = "SELECT enumlabel FROM pg_enum WHERE enumtypid = to_regtype(:name) ORDER BY enumsortorder"
# What ruff does to the file, where it is installed.
HOOKS = {"imports": "check --quiet --fix --select I", "format": "format --quiet"}


def write(url: str, message: str) -> str | None:
    """Write the revision that takes a database at the newest one to the declared tables, and return its path.

    None if they agree already. Raises StartError for a change that Alembic does not see or cannot write.
    """
    config = migrations._config(url)
    if shutil.which("ruff"):
        config.set_section_option("post_write_hooks", "hooks", ",".join(HOOKS))
        for name, options in HOOKS.items():
            hook = {"type": "exec", "executable": "ruff", "options": f"{options} REVISION_SCRIPT_FILENAME"}
            for key, value in hook.items():
                config.set_section_option("post_write_hooks", f"{name}.{key}", value)
    number = f"{int(migrations.head()) + 1:04}"
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("error", UserWarning)
            made: Any = command.revision(
                config, message, autogenerate=True, rev_id=number, process_revision_directives=_leave_out_empty
            )
    except (CommandError, UserWarning) as error:
        raise StartError(f"No revision was written: {error}") from None
    migrations.head.cache_clear()
    return str(made.path) if made else None


class Protect(ops.MigrateOperation):
    """The line of a revision that calls isolation.protect() for a new table."""

    def __init__(self, table: str) -> None:
        self.table = table


@renderers.dispatch_for(Protect)
def _render(context: Any, operation: Protect) -> str:
    context.imports.add("from backend.isolation import protect")
    return f"protect({operation.table!r})"


def complete(context: Any, _revision: Any, directives: list[Any]) -> None:
    """Add to a revision what Alembic leaves out: the protection of new tables, and types that go with their columns."""
    for enum in _enums(column for table in METADATA.tables.values() for column in table.columns):
        labels = [row[0] for row in context.connection.execute(text(LABELS), {"name": enum.name})]
        if labels and labels != enum.enums:
            raise CommandError(
                f"{enum.name} has the values {labels} in the database and {enum.enums} in its class, which Alembic "
                'cannot change. Do it by hand: uv run alembic revision -m "…", and in it ALTER TYPE … ADD VALUE'
            )
    for script in directives:
        for body in (script.upgrade_ops, script.downgrade_ops):
            body.ops = list(_completed(body.ops))


def _leave_out_empty(_context: Any, _revision: Any, directives: list[Any]) -> None:
    directives[:] = [script for script in directives if not script.upgrade_ops.is_empty()]


def _enums(columns: Iterable[Any]) -> list[Any]:
    return [column.type for column in columns if isinstance(column.type, Enum)]


def _completed(operations: list[Any]) -> Iterator[Any]:
    dropped = {operation.table_name for operation in operations if isinstance(operation, ops.DropTableOp)}
    for operation in operations:
        if isinstance(operation, ops.ModifyTableOps) and operation.table_name in dropped:
            continue  # its indexes go with the table
        parts = operation.ops if isinstance(operation, ops.ModifyTableOps) else [operation]
        for enum in _enums(part.column for part in parts if isinstance(part, ops.AddColumnOp)):
            values = ", ".join(f"'{value}'" for value in enum.enums)
            yield ops.ExecuteSQLOp(f"CREATE TYPE {enum.name} AS ENUM ({values})")
        yield operation
        if isinstance(operation, ops.CreateTableOp):
            yield Protect(operation.table_name)
        gone = [column for part in parts if isinstance(part, ops.DropTableOp) for column in part.to_table().columns]
        gone += [part.to_column() for part in parts if isinstance(part, ops.DropColumnOp)]
        for enum in _enums(gone):
            yield ops.ExecuteSQLOp(f"DROP TYPE {enum.name}")
