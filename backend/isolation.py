"""Row-level security: what protects a table, and the check that every table which the API may touch is protected."""

from typing import Any

from backend.database import Database, quoted

ROLE = "task_api"
ROLES = (ROLE, "task_keeper")
OWNER = "user_id = nullif(current_setting('app.user_id', true), '')"
# The policy as PostgreSQL prints it back.
POLICY = "((user_id)::text = NULLIF(current_setting('app.user_id'::text, true), ''::text))"
RIGHTS = "SELECT, INSERT, UPDATE, DELETE"
ADDED_TO = "SELECT, INSERT"  # a table that nobody changes or deletes from by the API: {"info": {"rights": ADDED_TO}}
KEEPERS_TABLES = ("revocation",)  # tables that no request reads or writes as a user
CREATE_POLICY = f"CREATE POLICY own_rows ON {{table}} USING ({OWNER}) WITH CHECK ({OWNER})"


def protect(table: str) -> None:
    """In a migration: let the API use a table, of which it sees, makes and changes only the rows of one user."""
    from alembic import op

    table = quoted(table)
    op.execute(f"GRANT {RIGHTS} ON {table} TO {ROLE}")
    op.execute(CREATE_POLICY.format(table=table))
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


# Read as the connection's own role, from the catalog: first the role, then each table on which it has any right,
# whether the API knows of it or not, and each that is declared.
CHECK_ROLE = """
SELECT
    EXISTS (SELECT FROM pg_roles WHERE rolname = 'task_api') AS role,
    EXISTS (SELECT FROM pg_roles WHERE rolname = 'task_api' AND pg_has_role(current_user, oid, 'MEMBER')) AS member,
    NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'task_api' AND (rolsuper OR rolbypassrls)) AS bound,
    EXISTS (SELECT FROM pg_roles WHERE rolname = 'task_keeper' AND pg_has_role(current_user, oid, 'MEMBER')) AS keeper,
    NOT EXISTS (
        SELECT FROM pg_roles AS a, pg_roles AS k
        WHERE a.rolname = 'task_api' AND k.rolname = 'task_keeper' AND pg_has_role(a.oid, k.oid, 'MEMBER')
    ) AS apart
"""
# What the role may do that keeps the log short, which sees it of every user, and the revocations.
CHECK_KEEPER = """
WITH open AS (
    SELECT polrelid AS id FROM pg_policy
    WHERE polname = 'keeper' AND polcmd = '*' AND polpermissive AND polroles = ARRAY['task_keeper'::regrole::oid]
        AND pg_get_expr(polqual, polrelid) = 'true'
), keeper AS (
    SELECT 'task_keeper'::regrole::oid AS id, to_regclass('change')::oid AS log, to_regclass('revocation')::oid AS ended
)
SELECT
    log IN (SELECT id FROM open),
    has_table_privilege(id, log, 'SELECT') AND has_table_privilege(id, log, 'DELETE')
        AND has_column_privilege(id, log, 'before', 'UPDATE'),
    ended IN (SELECT id FROM open) AND (SELECT relrowsecurity FROM pg_class WHERE oid = ended),
    has_table_privilege(id, ended, 'SELECT') AND has_table_privilege(id, ended, 'INSERT')
        AND has_table_privilege(id, ended, 'DELETE') AND has_column_privilege(id, ended, 'erases', 'UPDATE')
FROM keeper
"""
OPEN_TO_KEEPER = "DROP POLICY IF EXISTS keeper ON {0}; CREATE POLICY keeper ON {0} TO task_keeper USING (true)"
FAULTS_OF_KEEPER = (
    f"The table change is closed to task_keeper. Run: {OPEN_TO_KEEPER.format('change')}",
    "The role task_keeper may not shorten the change log. Run: "
    "GRANT SELECT, DELETE, UPDATE (before) ON change TO task_keeper",
    "The table revocation is not for task_keeper alone. Run: ALTER TABLE revocation ENABLE ROW LEVEL SECURITY; "
    + OPEN_TO_KEEPER.format("revocation"),
    "The role task_keeper may not read and write revocations. Run: "
    "GRANT SELECT, INSERT, UPDATE (erases), DELETE ON revocation TO task_keeper",
)
CHECK_TABLES = """
WITH binding AS (
    SELECT * FROM pg_policy
    WHERE EXISTS (SELECT FROM unnest(polroles) AS r WHERE r = 0 OR pg_has_role('task_api', r, 'MEMBER'))
)
SELECT
    t.oid::regclass::text, t.relkind IN ('r', 'p'), t.relrowsecurity, t.relforcerowsecurity,
    (
        SELECT count(*) = 1
            AND bool_and(polcmd = '*' AND polpermissive AND polroles = '{0}')
            AND bool_and(pg_get_expr(polqual, polrelid) = %(policy)s)
            AND bool_and(pg_get_expr(polwithcheck, polrelid) = %(policy)s)
        FROM binding WHERE polrelid = t.oid
    ),
    ARRAY(SELECT quote_ident(polname) FROM binding WHERE polrelid = t.oid ORDER BY 1),
    (SELECT quote_ident(conname) FROM pg_constraint WHERE conrelid = t.oid AND contype = 'p'),
    (
        SELECT array_agg(quote_ident(attname) ORDER BY array_position(indkey::smallint[], attnum))
        FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
        WHERE indrelid = t.oid AND indisprimary
    ),
    EXISTS (SELECT FROM pg_attribute WHERE attrelid = t.oid AND attname = 'user_id' AND NOT attisdropped),
    has_table_privilege(r.oid, t.oid, 'SELECT') AND has_table_privilege(r.oid, t.oid, 'INSERT'),
    has_table_privilege(r.oid, t.oid, 'TRUNCATE, REFERENCES, TRIGGER'),
    has_table_privilege(r.oid, t.oid, 'UPDATE, DELETE') OR has_any_column_privilege(r.oid, t.oid, 'UPDATE'),
    t.oid = ANY (ARRAY(SELECT to_regclass(name) FROM unnest(%(added_to)s::text[]) AS name))
FROM pg_roles r, pg_class t
WHERE r.rolname = 'task_api' AND t.relkind IN ('r', 'p', 'f', 'm', 'v')
    AND t.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = t.oid AND classid = 'pg_class'::regclass AND deptype = 'e')
    AND (
        has_table_privilege(r.oid, t.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
        OR has_any_column_privilege(r.oid, t.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
        OR t.oid = ANY (ARRAY(SELECT to_regclass(name) FROM unnest(%(declared)s::text[]) AS name))
    )
ORDER BY 1
"""
# What each column of CHECK_ROLE means when it is false, the deepest cause first.
FAULTS_OF_ROLE = (
    f"The role {ROLE} is missing. Run: uv run main.py migrate (first, if the database is at the newest revision: "
    "uv run alembic downgrade 0002)",
    f"The database user may not take on the role {ROLE}. Run, as its creator: GRANT {ROLE} TO the user",
    f"The role {ROLE} can step over row-level security. Run: ALTER ROLE {ROLE} NOSUPERUSER NOBYPASSRLS",
    "The database user may not take on the role task_keeper, which shortens the change log. Run, as its creator (after "
    "CREATE ROLE task_keeper, if it is missing): GRANT task_keeper TO the user",
    f"The role {ROLE} belongs to task_keeper, which sees every user's changes. Run: REVOKE task_keeper FROM {ROLE}",
)


def _fault(table: str, row: tuple[Any, ...], declared_key: list[str] | None) -> str | None:
    """Return what is wrong with one table, and the statement that mends it."""
    (
        is_table,
        enabled,
        forced,
        right_policy,
        policies,
        key_name,
        key,
        has_owner,
        usable,
        too_much,
        rewritable,
        is_log,
    ) = row
    drop_policies = "".join(f"DROP POLICY {policy} ON {table}; " for policy in policies)
    drop_key = f"DROP CONSTRAINT {key_name}, " if key else ""
    new_key = ", ".join(["user_id", *(column for column in key or declared_key or ["id"] if column != "user_id")])
    rights = ADDED_TO if is_log else RIGHTS
    checks = (
        (table not in KEEPERS_TABLES, "is for task_keeper alone", f"REVOKE ALL ON {table} FROM {ROLE}, PUBLIC"),
        (is_table and has_owner, "has no owner to keep users apart by", f"REVOKE ALL ON {table} FROM {ROLE}, PUBLIC"),
        (enabled, "has no row-level security", f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"),
        (forced, "does not force its row-level security", f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY"),
        (right_policy, "has another policy than own_rows", drop_policies + CREATE_POLICY.format(table=table)),
        (
            key and key[0] == "user_id",
            "has a primary key that does not begin with the owner",
            f"ALTER TABLE {table} {drop_key}ADD PRIMARY KEY ({new_key})",
        ),
        (
            not too_much,
            f"gives {ROLE} rights that no policy limits",
            f"REVOKE TRUNCATE, REFERENCES, TRIGGER ON {table} FROM {ROLE}, PUBLIC",
        ),
        (
            not (is_log and rewritable),
            f"can be rewritten by {ROLE}, which may only add to it",
            f"REVOKE UPDATE, DELETE ON {table} FROM {ROLE}, PUBLIC",
        ),
        (usable or declared_key is None, f"is closed to {ROLE}", f"GRANT {rights} ON {table} TO {ROLE}"),
    )
    return next((f"The table {table} {what}. Run: {mend}" for holds, what, mend in checks if not holds), None)


async def faults(db: Database) -> list[str]:
    """Return what lets one user reach another's rows, each in a sentence with the statement that mends it."""
    [role] = await db.run(CHECK_ROLE, repeatable=True)
    for holds, sentence in zip(role, FAULTS_OF_ROLE, strict=True):
        if not holds:
            return [sentence]
    from backend.tables import METADATA  # here: a revision imports this module, and needs no tables

    keys = {quoted(name): [quoted(c.name) for c in table.primary_key] for name, table in METADATA.tables.items()}
    added_to = [quoted(name) for name, table in METADATA.tables.items() if table.info.get("rights") == ADDED_TO]
    rows = await db.run(CHECK_TABLES, repeatable=True, policy=POLICY, declared=list(keys), added_to=added_to)
    missing = keys.keys() - {row[0] for row in rows}
    unmade = [f'There is no table {name}. Run: uv run main.py migration "add {name}"' for name in sorted(missing)]
    found = unmade + [fault for table, *row in rows if (fault := _fault(table, tuple(row), keys.get(table)))]
    if not found:
        [keeper] = await db.run(CHECK_KEEPER, repeatable=True)
        found = [sentence for holds, sentence in zip(keeper, FAULTS_OF_KEEPER, strict=True) if not holds]
    return found
