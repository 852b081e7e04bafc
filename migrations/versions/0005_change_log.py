"""The change log, to which the API's role adds and of which it changes nothing, and the role that keeps it short."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

OWNER = "user_id = nullif(current_setting('app.user_id', true), '')"
# As 0003 makes task_api.
MAKE_ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'task_keeper') THEN
        BEGIN
            CREATE ROLE task_keeper;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
    BEGIN
        EXECUTE format('GRANT task_keeper TO %I', current_user);
    EXCEPTION WHEN insufficient_privilege THEN
        IF NOT pg_has_role(current_user, 'task_keeper', 'MEMBER') THEN
            RAISE EXCEPTION 'the role task_keeper is there and is not yours: let its creator run GRANT task_keeper TO %',
                quote_ident(current_user);
        END IF;
    END;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO task_keeper', current_schema());
END $$
"""
DROP_ROLE = """
DO $$
BEGIN
    EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM task_keeper', current_schema());
    DROP ROLE task_keeper;
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
    NULL;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "change",
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("acted_by", sa.Text(), nullable=True),
        sa.Column("undoes", sa.BigInteger(), nullable=True),
        sa.Column("as_of", sa.BigInteger(), nullable=True),
        sa.Column("before", sa.JSON(), nullable=True),
        sa.CheckConstraint("action IN ('created', 'updated', 'deleted')", name="change_action"),
        sa.PrimaryKeyConstraint("user_id", "seq", "resource", "id"),
    )
    op.create_index("change_row", "change", ["user_id", "resource", "id", "seq"])
    op.create_index("change_at", "change", ["at"])
    op.execute("GRANT SELECT, INSERT ON change TO task_api")
    op.execute(f"CREATE POLICY own_rows ON change USING ({OWNER}) WITH CHECK ({OWNER})")
    op.execute(MAKE_ROLE)
    op.execute("GRANT SELECT, DELETE ON change TO task_keeper")
    op.execute("GRANT UPDATE (before) ON change TO task_keeper")
    op.execute("CREATE POLICY keeper ON change TO task_keeper USING (true)")
    op.execute("ALTER TABLE change ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE change FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.drop_table("change")
    op.execute(DROP_ROLE)
