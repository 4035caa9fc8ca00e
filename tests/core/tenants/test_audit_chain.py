"""The audit chain: what it finds, and appends that happen at once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from core.errors import NotFoundError
from core.storage import migrate
from core.storage.database import Database
from core.tenants import audit
from core.tenants import service as tenants
from core.tenants.records import Role, Tenant

TRIGGERS = {
    "sqlite": ("audit_log_no_update", "audit_log_no_delete", "audit_log_no_replace"),
    "mariadb": ("audit_log_no_update", "audit_log_no_delete"),
}


@pytest.fixture
def chain(sqlite_database: Database, sqlite_tenant: Tenant, now: datetime) -> list[str]:
    """Hashes of six links of one tenant, in order."""
    with sqlite_database.transaction() as s:
        return [
            audit.append(
                s,
                tenant_id=sqlite_tenant.id,
                actor="ann@example.com",
                action="adapter.archive",
                subject=f"adapter {number}",
                detail={"number": number, "share": 0.1, "names": ["ä", None, True]},
                now=now + timedelta(seconds=number),
            ).hash
            for number in range(1, 7)
        ]


def _tamper(database: Database, *statements: str) -> None:
    """As somebody who owns the database can: set the triggers aside, then change what is there."""
    with database.transaction() as s:
        s.execute(text("PRAGMA defer_foreign_keys = ON"))
        for trigger in TRIGGERS["sqlite"]:
            s.execute(text(f"DROP TRIGGER {trigger}"))
        for statement in statements:
            assert s.execute(text(statement)).rowcount > 0, statement


def test_a_chain_that_nobody_touched_holds(database: Database, tenant: Tenant, now: datetime) -> None:
    with database.transaction() as s:
        entries = [
            audit.append(
                s,
                tenant_id=tenant.id,
                actor="ann@example.com",
                action="user.add",
                subject="bob@example.com",
                detail={"role": "viewer", "rate": 1e-3, "deep": {"b": [1, 2.5, None], "a": "é\0"}, 5: 2**60},
                now=now + timedelta(microseconds=number),
            )
            for number in range(3)
        ]
    with database.transaction() as s:
        verdict = audit.verify(s, tenant.id, anchored_head=entries[1].hash)
        assert (verdict.entries, verdict.head, verdict.first_bad_seq) == (3, entries[2].hash, None)
        assert audit.list_entries(s, tenant.id) == entries[::-1]
        assert audit.list_entries(s, tenant.id, limit=1, before_seq=3) == [entries[1]]
        assert audit.list_entries(s, tenant.id, action="nothing") == []


@pytest.mark.parametrize(
    "change",
    [
        "seq = 40",
        "seq = 'x'",
        "tenant_id = 'ten_other'",
        "at = '2026-11-02 09:30:18.123457'",
        "at = 'yesterday'",
        "actor = 'eve@example.com'",
        "action = 'adapter.restore'",
        "subject = 'adapter 9'",
        """detail = '{"number": 3, "share": 0.2, "names": ["ä", null, true]}'""",
        """detail = '{"number": 3, "share": 0.1, "names": ["ä", null, 1]}'""",
        "detail = 'no json'",
        "detail = '{\"number\": NaN}'",
        "detail = '5'",
        f"detail = '{'[' * 100_000}'",
        "actor = x'00ff'",
        "previous_hash = hash",
        "hash = previous_hash",
    ],
)
def test_a_change_of_any_column_is_found(
    sqlite_database: Database, sqlite_tenant: Tenant, chain: list[str], change: str
) -> None:
    _tamper(
        sqlite_database,
        "INSERT INTO tenants SELECT 'ten_other', 'other', name, simulated, created_at FROM tenants",
        f"UPDATE audit_log SET {change} WHERE seq = 3",
    )
    with sqlite_database.transaction() as s:
        verdict = audit.verify(s, sqlite_tenant.id)
    assert verdict.first_bad_seq == 3
    assert verdict.entries == 2
    assert verdict.problem


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"])
def test_an_edit_is_found_on_the_servers_too(empty_database_url: str, now: datetime) -> None:
    migrate.upgrade(empty_database_url)
    database = Database(empty_database_url)
    mariadb = database.engine.dialect.name == "mariadb"
    try:
        with database.transaction() as s:
            tenant = tenants.create_tenant(s, name="Alpha Stores", now=now)
            for number in range(3):
                detail = {"n": number, "share": 0.1}
                audit.append(
                    s, tenant_id=tenant.id, actor="ann", action="look", subject="x", detail=detail, now=now
                )
            assert audit.verify(s, tenant.id).first_bad_seq is None
            aside = (
                "DROP TRIGGER audit_log_no_update" if mariadb else "SET session_replication_role = replica"
            )
            s.execute(text(aside))
            s.execute(text("""UPDATE audit_log SET detail = '{"n": 1, "share": 0.2}' WHERE seq = 2"""))
            assert audit.verify(s, tenant.id).first_bad_seq == 2
    finally:
        database.close()


def test_an_entry_that_was_edited_and_hashed_again_is_found_by_the_next(
    sqlite_database: Database, sqlite_tenant: Tenant, chain: list[str]
) -> None:
    with sqlite_database.transaction() as s:
        entry = audit.list_entries(s, sqlite_tenant.id, limit=1, before_seq=4)[0]
    forged = audit.AuditEntry(
        entry.seq, entry.at, "eve", entry.action, entry.subject, entry.detail, entry.previous_hash, ""
    )
    new_hash = audit.link_hash(sqlite_tenant.id, forged)
    _tamper(sqlite_database, f"UPDATE audit_log SET actor = 'eve', hash = '{new_hash}' WHERE seq = 3")
    with sqlite_database.transaction() as s:
        assert audit.verify(s, sqlite_tenant.id).first_bad_seq == 4


@pytest.mark.parametrize(
    ("statements", "first_bad"),
    [
        (["DELETE FROM audit_log WHERE seq = 1"], 1),
        (["DELETE FROM audit_log WHERE seq = 4"], 4),
        (["DELETE FROM audit_log WHERE seq = 6"], 6),
        (["DELETE FROM audit_log"], 1),
        (["DELETE FROM audit_log", "DELETE FROM audit_heads"], 1),
        (
            [
                "UPDATE audit_log SET seq = 99 WHERE seq = 2",
                "UPDATE audit_log SET seq = 2 WHERE seq = 3",
                "UPDATE audit_log SET seq = 3 WHERE seq = 99",
            ],
            2,
        ),
    ],
)
def test_gaps_a_cut_off_end_and_another_order_are_found(
    sqlite_database: Database, sqlite_tenant: Tenant, chain: list[str], statements: list[str], first_bad: int
) -> None:
    _tamper(sqlite_database, *statements)
    with sqlite_database.transaction() as s:
        assert audit.verify(s, sqlite_tenant.id).first_bad_seq == first_bad


def test_an_end_that_was_cut_off_together_with_its_note_is_found_by_an_anchored_head(
    sqlite_database: Database, sqlite_tenant: Tenant, chain: list[str]
) -> None:
    _tamper(
        sqlite_database,
        "DELETE FROM audit_log WHERE seq > 4",
        f"UPDATE audit_heads SET seq = 4, hash = '{chain[3]}'",
    )
    with sqlite_database.transaction() as s:
        assert audit.verify(s, sqlite_tenant.id).first_bad_seq is None
        assert audit.verify(s, sqlite_tenant.id, anchored_head=chain[3]).first_bad_seq is None
        cut = audit.verify(s, sqlite_tenant.id, anchored_head=chain[5])
    assert (cut.entries, cut.first_bad_seq) == (4, 5)
    assert cut.problem is not None
    assert "anchored" in cut.problem


def test_an_entry_added_behind_the_back_of_the_chain_is_found(
    sqlite_database: Database, sqlite_tenant: Tenant, chain: list[str], now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        last = audit.list_entries(s, sqlite_tenant.id, limit=1)[0]
    forged = audit.AuditEntry(7, now, "eve", "look", "nothing", {}, last.hash, "")
    columns = "tenant_id, 7, at, 'eve', 'look', 'nothing', '{}', hash"
    moment = now.replace(tzinfo=None).isoformat(" ")
    _tamper(
        sqlite_database,
        f"INSERT INTO audit_log SELECT {columns.replace('at', repr(moment), 1)}, "
        f"'{audit.link_hash(sqlite_tenant.id, forged)}' FROM audit_log WHERE seq = 6",
    )
    with sqlite_database.transaction() as s:
        verdict = audit.verify(s, sqlite_tenant.id)
    assert (verdict.entries, verdict.first_bad_seq) == (7, 8)


def test_appends_at_once_leave_no_gap_and_one_order(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime
) -> None:
    def append(number: int) -> int:
        with database.transaction() as s:
            whose = tenant if number % 3 else other_tenant
            return audit.append(
                s, tenant_id=whose.id, actor="ann", action="look", subject=str(number), now=now
            ).seq

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(append, range(48)))
    assert sorted(numbers) == sorted([*range(1, 33), *range(1, 17)])
    with database.transaction() as s:
        assert audit.verify(s, tenant.id).entries == 32
        assert audit.verify(s, tenant.id).first_bad_seq is None
        assert audit.verify(s, other_tenant.id).entries == 16


def test_changes_and_their_audit_entries_at_once_do_not_block_each_other(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    def add(number: int) -> None:
        with database.transaction() as s:
            user = tenants.add_user(
                s, tenant.id, email=f"p{number}@example.com", name="P", role=Role.VIEWER, now=now
            )
            audit.append(s, tenant_id=tenant.id, actor="ann", action="user.add", subject=user.email, now=now)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    with database.transaction() as s:
        assert audit.verify(s, tenant.id).entries == 24


def test_an_append_that_is_rolled_back_leaves_no_gap(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    def append(subject: str) -> None:
        with database.transaction() as s:
            audit.append(s, tenant_id=tenant.id, actor="ann", action="look", subject=subject, now=now)
            if subject == "two":
                raise LookupError(subject)

    append("one")
    with pytest.raises(LookupError):
        append("two")
    append("three")
    with database.transaction() as s:
        assert [entry.subject for entry in audit.list_entries(s, tenant.id)] == ["three", "one"]
        assert audit.verify(s, tenant.id).first_bad_seq is None


def test_the_chains_of_two_tenants_do_not_mix(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        mine = audit.append(s, tenant_id=tenant.id, actor="ann", action="look", subject="x", now=now)
        theirs = audit.append(s, tenant_id=other_tenant.id, actor="ann", action="look", subject="x", now=now)
        assert (mine.seq, theirs.seq) == (1, 1)
        assert mine.hash != theirs.hash
        assert audit.list_entries(s, other_tenant.id) == [theirs]


def test_long_and_odd_text_is_kept_as_far_as_it_fits(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        entry = audit.append(
            s, tenant_id=tenant.id, actor="a" * 500, action="b" * 500, subject="\ud800\0" + "ü" * 500, now=now
        )
        assert (len(entry.actor), len(entry.action), len(entry.subject)) == (200, 64, 200)
        assert entry.subject.startswith("\ufffd\ufffd")
    with database.transaction() as s:
        assert audit.verify(s, tenant.id).first_bad_seq is None


def test_the_log_of_a_workspace_that_does_not_exist_is_not_found(database: Database, now: datetime) -> None:
    for look in (
        lambda s: audit.verify(s, "ten_nobody"),
        lambda s: audit.append(s, tenant_id="ten_nobody", actor="a", action="b", subject="c", now=now),
    ):
        with pytest.raises(NotFoundError), database.transaction() as s:
            look(s)
