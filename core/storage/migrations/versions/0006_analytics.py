"""Requests that are over, what they add up to, and what people thought of the answers.

Every statement may be run again: on MariaDB and MySQL, which cannot undo DDL, an interrupted upgrade is simply repeated.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

Moment = sa.DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")
OPTIONS = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}
COUNTS = ("requests", "successes", "cancelled", "simulated", "reported")
SUMS = (
    "prompt_tokens", "completion_tokens", "cost_nano", "memory_bytes", "ratings", "rating_sum", "rating_squares",
    "thumbs_up", "thumbs_down", "accuracies", "accuracy_sum", "accuracy_squares",
)  # fmt: skip


def upgrade() -> None:
    _requests()
    _feedback()
    _cells()
    _names()


def _requests() -> None:
    op.create_table(
        "request_records",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("at", Moment, nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("composition", sa.String(64), nullable=False),
        sa.Column("adapters", sa.JSON(), nullable=False),
        sa.Column("task", sa.String(80), nullable=False),
        sa.Column("error", sa.String(40), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("queued_ms", sa.Double(), nullable=True),
        sa.Column("composing_ms", sa.Double(), nullable=True),
        sa.Column("first_token_ms", sa.Double(), nullable=True),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_nano", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_request_records"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_request_records_tenant_id"),
        if_not_exists=True,
        **OPTIONS,
    )
    for columns in (["tenant_id", "error", "id"], ["tenant_id", "request_id"]):
        name = f"ix_request_records_{'_'.join(columns)}"
        op.create_index(name, "request_records", columns, if_not_exists=True)
    op.create_table(
        "request_subjects",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.PrimaryKeyConstraint("tenant_id", "kind", "subject", "id", name="pk_request_subjects"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_request_subjects_tenant_id"),
        if_not_exists=True,
        **OPTIONS,
    )


def _feedback() -> None:
    op.create_table(
        "request_feedback",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=True),
        sa.Column("composition", sa.String(64), nullable=False),
        sa.Column("adapters", sa.JSON(), nullable=False),
        sa.Column("task", sa.String(80), nullable=False),
        sa.Column("rating", sa.Double(), nullable=True),
        sa.Column("thumbs", sa.String(8), nullable=True),
        sa.Column("accuracy", sa.Double(), nullable=True),
        sa.Column("counted_at", Moment, nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_request_feedback"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_request_feedback_tenant_id"),
        sa.UniqueConstraint(
            "tenant_id", "request_id", "created_by", name="uq_request_feedback_tenant_id_request_id_created_by"
        ),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_index(
        "ix_request_feedback_tenant_id_created_at",
        "request_feedback",
        ["tenant_id", "created_at"],
        if_not_exists=True,
    )


def _cells() -> None:
    op.create_table(
        "analytics_cells",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("grain", sa.String(8), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("start", Moment, nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("task", sa.String(80), nullable=False),
        sa.Column("writer", sa.String(40), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        sa.Column("errors", sa.JSON(), nullable=False),
        sa.Column("latency", sa.LargeBinary(), nullable=True),
        sa.Column("queued", sa.LargeBinary(), nullable=True),
        sa.Column("composing", sa.LargeBinary(), nullable=True),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in SUMS),
        sa.PrimaryKeyConstraint(
            "tenant_id", "grain", "kind", "start", "subject", "task", "writer", name="pk_analytics_cells"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_analytics_cells_tenant_id"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_index("ix_analytics_cells_grain_start", "analytics_cells", ["grain", "start"], if_not_exists=True)


def _names() -> None:
    op.create_table(
        "analytics_subjects",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("label", sa.String(400), nullable=False),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("first_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "kind", "subject", name="pk_analytics_subjects"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_analytics_subjects_tenant_id"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "analytics_writers",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("written_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_analytics_writers"),
        if_not_exists=True,
        **OPTIONS,
    )
