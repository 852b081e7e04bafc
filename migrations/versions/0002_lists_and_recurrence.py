"""The indexes that lists are read from, and the due date's offset that recurrence rules are read in."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("task", sa.Column("due_offset", sa.Integer()))
    op.create_index("task_status", "task", ["user_id", "status", "created_at", "id"])
    op.create_index("task_priority", "task", ["user_id", "priority", "id"])
    op.create_index("task_due_date", "task", ["user_id", sa.text("coalesce(due_date, 'infinity')"), "id"])


def downgrade() -> None:
    for name in ("task_due_date", "task_priority", "task_status"):
        op.drop_index(name, table_name="task")
    op.drop_column("task", "due_offset")
