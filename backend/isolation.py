"""Whether the database holds its line: row-level security on, forced, whole, and a role that cannot step over it."""

from typing import Any

# The policy as PostgreSQL prints it back.
POLICY = "((user_id)::text = NULLIF(current_setting('app.user_id'::text, true), ''::text))"
# Read as the connection's own role, from the catalog, in one row.
CHECK = """
SELECT
    EXISTS (SELECT FROM pg_roles WHERE rolname = 'task_api') AS role,
    EXISTS (SELECT FROM pg_roles WHERE rolname = 'task_api' AND pg_has_role(current_user, oid, 'MEMBER')) AS member,
    NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'task_api' AND (rolsuper OR rolbypassrls)) AS bound,
    NOT EXISTS (
        SELECT FROM unnest(ARRAY['task', 'tag']) AS name LEFT JOIN pg_class ON pg_class.oid = to_regclass(name)
        WHERE relrowsecurity IS NOT TRUE
    ) AS enabled,
    NOT EXISTS (
        SELECT FROM unnest(ARRAY['task', 'tag']) AS name LEFT JOIN pg_class ON pg_class.oid = to_regclass(name)
        WHERE relforcerowsecurity IS NOT TRUE
    ) AS forced,
    (
        SELECT count(*) = 2
            AND bool_and(polcmd = '*' AND polpermissive AND polroles = '{0}')
            AND bool_and(pg_get_expr(polqual, polrelid) = %(policy)s)
            AND bool_and(pg_get_expr(polwithcheck, polrelid) = %(policy)s)
        FROM pg_policy WHERE polrelid IN (to_regclass('task'), to_regclass('tag'))
    ) AS policies
"""
REPAIR = "Run: uv run main.py migrate (if the database is at head already, first: uv run alembic downgrade 0002)"
# What each column of CHECK means when it is false, the deepest cause first.
FAULTS = (
    f"The role task_api is missing. {REPAIR}",
    "The database user may not take on the role task_api. Run, as its creator: GRANT task_api TO the user",
    "The role task_api can step over row-level security. Run: ALTER ROLE task_api NOSUPERUSER NOBYPASSRLS",
    f"Row-level security is off on task or tag. {REPAIR}",
    f"Row-level security is not forced on task or tag. {REPAIR}",
    f"The policies on task and tag are not the ones that the migration made. {REPAIR}",
)


def fault(row: tuple[Any, ...]) -> str | None:
    """Return what is wrong and how to mend it, from the row of CHECK; None if nothing is."""
    return next((sentence for ok, sentence in zip(row, FAULTS, strict=True) if not ok), None)
