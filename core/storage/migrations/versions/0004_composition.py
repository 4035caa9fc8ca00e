"""Gates, served versions and their swaps, limits and usage of tenants, preference pairs.

Every statement may be run again: on MariaDB and MySQL, which cannot undo DDL, an interrupted upgrade is simply repeated.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Moment = sa.DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")
OPTIONS = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}


def upgrade() -> None:
    _gates()
    _swaps()
    _limits()
    _preferences()


def _gates() -> None:
    op.create_table(
        "gates",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("base_digest", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("path", sa.String(1000), nullable=False),
        sa.Column("adapters", sa.JSON(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=True),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gates"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_gates_tenant_id"),
        sa.UniqueConstraint("tenant_id", "name", "version", name="uq_gates_tenant_id_name_version"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_index("ix_gates_tenant_id", "gates", ["tenant_id"], if_not_exists=True)


def _swaps() -> None:
    op.create_table(
        "served_versions",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("swap_id", sa.String(40), nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "kind", "name", name="pk_served_versions"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_served_versions_tenant_id"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "swaps",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("from_version", sa.Integer(), nullable=True),
        sa.Column("to_version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("finished_at", Moment, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_swaps"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_swaps_tenant_id"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_index(
        "ix_swaps_tenant_id_created_at_id", "swaps", ["tenant_id", "created_at", "id"], if_not_exists=True
    )


def _limits() -> None:
    op.create_table(
        "tenant_limits",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("tokens_per_minute", sa.Integer(), nullable=True),
        sa.Column("tokens_per_day", sa.BigInteger(), nullable=True),
        sa.Column("concurrent_requests", sa.Integer(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_tenant_limits"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_tenant_limits_tenant_id"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "usage_days",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "day", name="pk_usage_days"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_usage_days_tenant_id"),
        if_not_exists=True,
        **OPTIONS,
    )


def _preferences() -> None:
    op.create_table(
        "preference_pairs",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("chosen", sa.Text(), nullable=False),
        sa.Column("rejected", sa.Text(), nullable=False),
        sa.Column("chosen_model", sa.String(200), nullable=False),
        sa.Column("rejected_model", sa.String(200), nullable=False),
        sa.Column("chosen_key", sa.String(64), nullable=False),
        sa.Column("rejected_key", sa.String(64), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_preference_pairs"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_preference_pairs_tenant_id"),
        sa.UniqueConstraint(
            "tenant_id", "created_by", "digest", name="uq_preference_pairs_tenant_id_created_by_digest"
        ),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_index(
        "ix_preference_pairs_tenant_id_created_at_id",
        "preference_pairs",
        ["tenant_id", "created_at", "id"],
        if_not_exists=True,
    )
