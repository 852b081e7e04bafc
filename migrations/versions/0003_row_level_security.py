"""Row-level security: the database itself shows a user's statement that user's rows and no others."""

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = ("task", "tag")
# A role belongs to the whole server: another database may have made it already, or be making it now.
# Whoever may create roles may not always take one on (PostgreSQL 16), so the role is granted to the one that migrates.
MAKE_ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'task_api') THEN
        BEGIN
            CREATE ROLE task_api;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
    BEGIN
        EXECUTE format('GRANT task_api TO %I', current_user);
    EXCEPTION WHEN insufficient_privilege THEN
        IF NOT pg_has_role(current_user, 'task_api', 'MEMBER') THEN
            RAISE EXCEPTION 'the role task_api is there and is not yours: let its creator run GRANT task_api TO %',
                quote_ident(current_user);
        END IF;
    END;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO task_api', current_schema());
END $$
"""
OWNER = "user_id = nullif(current_setting('app.user_id', true), '')"
# It stays if another database of the server uses it.
DROP_ROLE = """
DO $$
BEGIN
    EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM task_api', current_schema());
    DROP ROLE task_api;
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
    NULL;
END $$
"""


def upgrade() -> None:
    op.execute(MAKE_ROLE)
    for table in TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO task_api")
        op.execute(f"CREATE POLICY own_rows ON {table} USING ({OWNER}) WITH CHECK ({OWNER})")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        op.execute(f"DROP POLICY own_rows ON {table}")
        op.execute(f"REVOKE ALL ON {table} FROM task_api")
    op.execute(DROP_ROLE)
