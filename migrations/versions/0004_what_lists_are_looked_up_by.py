"""Columns by which lists can be looked up in an index under row-level security, which enums and coalesce() cannot."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

COLUMNS: dict[str, tuple[Any, str]] = {
    "status_order": (
        sa.SmallInteger(),
        "CASE status WHEN 'pending' THEN 0 WHEN 'in_progress' THEN 1 WHEN 'completed' THEN 2 END",
    ),
    "priority_order": (
        sa.SmallInteger(),
        "CASE priority WHEN 'low' THEN 0 WHEN 'medium' THEN 1 WHEN 'high' THEN 2 END",
    ),
    "due_order": (sa.DateTime(timezone=True), "coalesce(due_date, 'infinity'::timestamptz)"),
}
INDEXES = ("task_status", "task_priority", "task_due_date")


def upgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, table_name="task")
    for name, (type_, expression) in COLUMNS.items():
        op.add_column("task", sa.Column(name, type_, sa.Computed(expression, persisted=True), nullable=False))
    op.create_index("task_status", "task", ["user_id", "status_order", "created_at", "id"])
    op.create_index("task_priority", "task", ["user_id", "priority_order", "id"])
    op.create_index("task_due_date", "task", ["user_id", "due_order", "id"])


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, table_name="task")
    for name in COLUMNS:
        op.drop_column("task", name)
    op.create_index("task_status", "task", ["user_id", "status", "created_at", "id"])
    op.create_index("task_priority", "task", ["user_id", "priority", "id"])
    op.create_index("task_due_date", "task", ["user_id", sa.text("coalesce(due_date, 'infinity')"), "id"])
