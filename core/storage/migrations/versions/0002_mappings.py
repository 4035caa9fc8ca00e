"""Mappings with their versions, and the runs that harmonized a dataset with one.

Every statement may be run again: on MariaDB and MySQL, which cannot undo DDL, an interrupted upgrade is simply repeated.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Moment = sa.DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")
OPTIONS = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}


def upgrade() -> None:
    _mappings()
    _runs()


def _mappings() -> None:
    op.create_table(
        "mappings",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("retailer", sa.String(200), nullable=False),
        sa.Column("network", sa.String(200), nullable=False),
        sa.Column("report", sa.String(200), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mappings"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_mappings_tenant_id"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_mappings_tenant_id_name"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_index("ix_mappings_tenant_id", "mappings", ["tenant_id"], if_not_exists=True)
    op.create_table(
        "mapping_versions",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("mapping_id", sa.String(40), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mapping_versions"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_mapping_versions_tenant_id"),
        sa.ForeignKeyConstraint(["mapping_id"], ["mappings.id"], name="fk_mapping_versions_mapping_id"),
        sa.UniqueConstraint("mapping_id", "version", name="uq_mapping_versions_mapping_id_version"),
        sa.UniqueConstraint("mapping_id", "digest", name="uq_mapping_versions_mapping_id_digest"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_index("ix_mapping_versions_tenant_id", "mapping_versions", ["tenant_id"], if_not_exists=True)


def _runs() -> None:
    op.create_table(
        "harmonized_runs",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("dataset_id", sa.String(40), nullable=False),
        sa.Column("dataset_digest", sa.String(64), nullable=False),
        sa.Column("mapping_version_id", sa.String(40), nullable=False),
        sa.Column("mapping_digest", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=True),
        sa.Column("path", sa.String(1000), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("rows_in", sa.BigInteger(), nullable=False),
        sa.Column("rows_out", sa.BigInteger(), nullable=False),
        sa.Column("coverage", sa.Double(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_harmonized_runs"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_harmonized_runs_tenant_id"),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_harmonized_runs_dataset_id"),
        sa.ForeignKeyConstraint(
            ["mapping_version_id"], ["mapping_versions.id"], name="fk_harmonized_runs_mapping_version_id"
        ),
        sa.UniqueConstraint("job_id", name="uq_harmonized_runs_job_id"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_index(
        "ix_harmonized_runs_tenant_id_created_at_id",
        "harmonized_runs",
        ["tenant_id", "created_at", "id"],
        if_not_exists=True,
    )
