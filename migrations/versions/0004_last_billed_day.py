"""The last billed day of an addition that we ended, so that no day is billed twice.

Revision 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("owned_additions") as batch_op:
        batch_op.add_column(sa.Column("last_billed_day", sa.Date(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("owned_additions") as batch_op:
        batch_op.drop_column("last_billed_day")
