"""Experiments, their impressions, units, evidence and daily snapshots.

Every statement may be run again: on MariaDB and MySQL, which cannot undo DDL, an interrupted upgrade is simply repeated.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Moment = sa.DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")
OPTIONS = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}


def upgrade() -> None:
    _experiments()
    _impressions()
    _units()
    _sums()


def _experiments() -> None:
    op.create_table(
        "experiments",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("namespace", sa.String(200), nullable=False),
        sa.Column("definition", sa.JSON(), nullable=False),
        sa.Column("allocation", sa.JSON(), nullable=True),
        sa.Column("reached", sa.JSON(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("settled_arm", sa.String(200), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("started_at", Moment, nullable=True),
        sa.Column("stopped_at", Moment, nullable=True),
        sa.Column("begun_at", Moment, nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_experiments"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_experiments_tenant_id"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_index(
        "ix_experiments_tenant_id_state", "experiments", ["tenant_id", "state"], if_not_exists=True
    )
    op.create_index("ix_experiments_state", "experiments", ["state"], if_not_exists=True)


def _impressions() -> None:
    op.create_table(
        "experiment_impressions",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("experiment_id", sa.String(40), nullable=False),
        sa.Column("event_id", sa.String(200), nullable=False),
        sa.Column("variant", sa.String(40), nullable=False),
        sa.Column("unit", sa.String(64), nullable=False),
        sa.Column("success", sa.SmallInteger(), nullable=True),
        sa.Column("latency_ms", sa.Double(), nullable=True),
        sa.Column("feedback_score", sa.Double(), nullable=True),
        sa.Column("propensity", sa.Double(), nullable=False),
        sa.Column("independent", sa.SmallInteger(), nullable=False),
        sa.Column("exposure", sa.SmallInteger(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=True),
        sa.Column("segment", sa.JSON(), nullable=True),
        sa.Column("folded", sa.SmallInteger(), nullable=False),
        sa.Column("counted", sa.JSON(), nullable=True),
        sa.Column("at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_experiment_impressions"),
        _of_experiment("experiment_impressions"),
        sa.UniqueConstraint(
            "tenant_id",
            "experiment_id",
            "event_id",
            name="uq_experiment_impressions_tenant_id_experiment_id_event_id",
        ),
        if_not_exists=True,
        **OPTIONS,
    )
    for columns in (["folded", "id"], ["unit"]):
        columns = ["tenant_id", "experiment_id", *columns]
        op.create_index(
            f"ix_experiment_impressions_{'_'.join(columns)}",
            "experiment_impressions",
            columns,
            if_not_exists=True,
        )


def _units() -> None:
    op.create_table(
        "experiment_units",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("experiment_id", sa.String(40), nullable=False),
        sa.Column("unit", sa.String(64), nullable=False),
        sa.Column("variant", sa.String(40), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=True),
        sa.Column("first", sa.SmallInteger(), nullable=True),
        sa.Column("crossed", sa.SmallInteger(), nullable=False),
        sa.Column("independent", sa.SmallInteger(), nullable=False),
        sa.Column("propensity", sa.Double(), nullable=False),
        sa.Column("totals", sa.JSON(), nullable=False),
        sa.Column("ages", sa.JSON(), nullable=False),
        sa.Column("segment", sa.JSON(), nullable=True),
        sa.Column("exposed_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "experiment_id", "unit", name="pk_experiment_units"),
        _of_experiment("experiment_units"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_index(
        "ix_experiment_units_tenant_id_experiment_id_variant_place",
        "experiment_units",
        ["tenant_id", "experiment_id", "variant", "place"],
        if_not_exists=True,
    )


def _sums() -> None:
    op.create_table(
        "experiment_evidence",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("experiment_id", sa.String(40), nullable=False),
        sa.Column("tally", sa.JSON(), nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "experiment_id", name="pk_experiment_evidence"),
        _of_experiment("experiment_evidence"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "experiment_snapshots",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("experiment_id", sa.String(40), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "experiment_id", "day", name="pk_experiment_snapshots"),
        _of_experiment("experiment_snapshots"),
        if_not_exists=True,
        **OPTIONS,
    )


def _of_experiment(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", "experiment_id"],
        ["experiments.tenant_id", "experiments.id"],
        name=f"fk_{table}_tenant_id_experiment_id",
    )
