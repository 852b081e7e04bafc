"""Tasks and tags."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, ENUM

revision = "0001"
down_revision = None

STATUS = ENUM("pending", "in_progress", "completed", name="task_status", create_type=False)
PRIORITY = ENUM("low", "medium", "high", name="task_priority", create_type=False)


def upgrade() -> None:
    STATUS.create(op.get_bind(), checkfirst=False)
    PRIORITY.create(op.get_bind(), checkfirst=False)
    # PostgreSQL writes a task's JSON in the order of these columns.
    op.create_table(
        "task",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("description", sa.String(1000)),
        sa.Column("status", STATUS, nullable=False),
        sa.Column("priority", PRIORITY, nullable=False),
        sa.Column("due_date", sa.DateTime(timezone=True)),
        sa.Column("recurrence_rule", sa.String(500)),
        sa.Column("tags", ARRAY(sa.Text()), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("completed_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("user_id", "id"),
        sa.CheckConstraint("recurrence_rule IS NULL OR due_date IS NOT NULL", name="recurrence_needs_due_date"),
    )
    op.create_index("task_newest", "task", ["user_id", "created_at", "id"])
    op.create_table(
        "tag",
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("name", sa.String(50), nullable=False),
        sa.Column("color", sa.String(7)),
        sa.PrimaryKeyConstraint("user_id", "name"),
    )


def downgrade() -> None:
    op.drop_table("tag")
    op.drop_table("task")
    PRIORITY.drop(op.get_bind(), checkfirst=False)
    STATUS.drop(op.get_bind(), checkfirst=False)
