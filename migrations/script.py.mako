<%
    def lines(operations):
        """Leave out the comments that Alembic puts around them."""
        kept = [line for line in (operations or "pass").splitlines() if not line.strip().startswith("# ###")]
        return "\n".join(kept).strip()
%>"""${message[:1].upper() + message[1:].rstrip(".")}."""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${lines(upgrades)}


def downgrade() -> None:
    ${lines(downgrades)}
