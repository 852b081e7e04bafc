"""Revocations of tokens, which only the role task_keeper reads and writes."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "revocation",
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("jti", sa.String(255), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=True),
        sa.Column("session_id", sa.String(255), nullable=True),
        sa.Column("issued_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("erases", sa.Boolean(), nullable=False),
        sa.CheckConstraint("num_nonnulls(user_id, session_id) = 1", name="revocation_of_one"),
        sa.PrimaryKeyConstraint("issuer", "jti"),
    )
    op.create_index("revocation_number", "revocation", ["number"])
    op.create_index("revocation_ends_at", "revocation", ["ends_at"])
    op.execute("GRANT SELECT, INSERT, UPDATE (erases), DELETE ON revocation TO task_keeper")
    op.execute("CREATE POLICY keeper ON revocation TO task_keeper USING (true)")
    op.execute("ALTER TABLE revocation ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE revocation FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.drop_table("revocation")
