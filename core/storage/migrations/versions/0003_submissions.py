"""What was submitted, by which a job that is submitted twice is found again.

Every statement may be run again: on MariaDB and MySQL, which cannot undo DDL, an interrupted upgrade is simply repeated.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # SQLite and MySQL have no ADD COLUMN IF NOT EXISTS.
    if "submission" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("jobs")}:
        op.add_column("jobs", sa.Column("submission", sa.String(64), nullable=True))
    op.create_index(
        "ix_jobs_tenant_id_submission", "jobs", ["tenant_id", "submission"], unique=True, if_not_exists=True
    )
