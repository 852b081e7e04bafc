"""Whole days, time zones, the next occurrence that a completed task made, and the order of completion."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

WHOLE_DAY = "due_on IS NULL OR recurrence_rule !~ 'BY(HOUR|MINUTE|SECOND)'"


def upgrade() -> None:
    op.add_column("task", sa.Column("time_zone", sa.String(64), nullable=True))
    op.add_column("task", sa.Column("due_on", sa.Date(), nullable=True))
    op.add_column("task", sa.Column("next_id", sa.Uuid(), nullable=True))
    op.create_check_constraint("whole_day_has_no_hours", "task", WHOLE_DAY)
    order = sa.Computed("COALESCE(completed_at, 'infinity'::timestamp with time zone)", persisted=True)
    op.add_column("task", sa.Column("completed_order", sa.DateTime(timezone=True), order, nullable=False))
    op.create_index("task_completed_at", "task", ["user_id", "completed_order", "id"])


def downgrade() -> None:
    op.drop_index("task_completed_at", table_name="task")
    op.drop_constraint("whole_day_has_no_hours", "task")
    for name in ("completed_order", "next_id", "due_on", "time_zone"):
        op.drop_column("task", name)
