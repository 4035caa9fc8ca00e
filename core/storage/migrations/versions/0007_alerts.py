"""Alerts: what happened, their rules, webhooks and messages, what the watch remembers, and leases of processes.

Every statement may be run again: on MariaDB and MySQL, which cannot undo DDL, an interrupted upgrade is simply repeated.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

Moment = sa.DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")
OPTIONS = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}


def upgrade() -> None:
    _alerts()
    _webhooks()
    _watching()


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("unresolved", sa.String(220), nullable=True),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("next_step", sa.Text(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("seen", sa.Integer(), nullable=False),
        sa.Column("opened_at", Moment, nullable=False),
        sa.Column("last_seen_at", Moment, nullable=False),
        sa.Column("acknowledged_at", Moment, nullable=True),
        sa.Column("acknowledged_by", sa.String(200), nullable=True),
        sa.Column("resolved_at", Moment, nullable=True),
        sa.Column("resolved_by", sa.String(200), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_alerts_tenant_id"),
        sa.UniqueConstraint("tenant_id", "unresolved", name="uq_alerts_tenant_id_unresolved"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_index(
        "ix_alerts_tenant_id_opened_at_id", "alerts", ["tenant_id", "opened_at", "id"], if_not_exists=True
    )
    op.create_index(
        "ix_alerts_tenant_id_kind_subject_resolved_at",
        "alerts",
        ["tenant_id", "kind", "subject", "resolved_at"],
        if_not_exists=True,
    )
    op.create_table(
        "alert_events",
        sa.Column("alert_id", sa.String(40), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("at", Moment, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("alert_id", "state", name="pk_alert_events"),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name="fk_alert_events_alert_id"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "alert_rules",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("cooldown_minutes", sa.Integer(), nullable=False),
        sa.Column("changed_at", Moment, nullable=False),
        sa.Column("changed_by", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "kind", name="pk_alert_rules"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_alert_rules_tenant_id"),
        if_not_exists=True,
        **OPTIONS,
    )


def _webhooks() -> None:
    op.create_table(
        "alert_webhooks",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.String(80), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("changed_at", Moment, nullable=False),
        sa.Column("changed_by", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_alert_webhooks"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_alert_webhooks_tenant_id"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "alert_deliveries",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("alert_id", sa.String(40), nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("next_at", Moment, nullable=True),
        sa.Column("finished_at", Moment, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_alert_deliveries"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_alert_deliveries_tenant_id"),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name="fk_alert_deliveries_alert_id"),
        sa.UniqueConstraint("alert_id", "event", name="uq_alert_deliveries_alert_id_event"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_index(
        "ix_alert_deliveries_state_next_at", "alert_deliveries", ["state", "next_at"], if_not_exists=True
    )
    op.create_index(
        "ix_alert_deliveries_tenant_id_created_at_id",
        "alert_deliveries",
        ["tenant_id", "created_at", "id"],
        if_not_exists=True,
    )


def _watching() -> None:
    op.create_table(
        "alert_watched",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("seen_until", Moment, nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "kind", "subject", name="pk_alert_watched"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_alert_watched_tenant_id"),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("holder", sa.String(40), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
        if_not_exists=True,
        **OPTIONS,
    )
