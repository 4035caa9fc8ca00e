import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.engine.records import Message
from core.errors import BusyError, ConflictError, InvalidInputError
from core.feedback import service
from core.feedback.pairs import pair_digest
from core.feedback.records import ModelTally, PairDraft, PairSource, PreferencePair
from core.storage.database import Database
from core.tenants.records import Tenant

Say = Callable[..., PreferencePair]
KEY = "a" * 64


def draft(chosen: str = "good", rejected: str = "bad", prompt: str = "Which?", **more: Any) -> PairDraft:
    return PairDraft(messages=(Message("user", prompt),), chosen=chosen, rejected=rejected, **more)


@pytest.fixture
def say(now: datetime) -> Say:
    def say(
        s: Any, tenant: Tenant, *answers: str, by: str = "a@x", at: datetime | None = None, **more: Any
    ) -> PreferencePair:
        return service.record_pair(
            s, tenant.id, draft(*answers, **more), source=PairSource.API, created_by=by, now=at or now
        )

    return say


def test_a_preference_is_kept_as_it_was_said(database: Database, tenant: Tenant, say: Say) -> None:
    with database.transaction() as s:
        said = say(s, tenant, chosen_model="both v1", rejected_model="alpha v1", chosen_key=KEY, why="tone")
    with database.transaction() as s:
        again = say(s, tenant, why="another reason")
    assert again == said
    assert (said.chosen_model, said.chosen_key, said.why, said.source) == ("both v1", KEY, "tone", "api")


def test_one_person_says_it_once_however_many_ask_at_once(
    database: Database, tenant: Tenant, say: Say
) -> None:
    def say_it(_: int) -> str:
        with database.transaction() as s:
            return say(s, tenant).id

    with ThreadPoolExecutor(6) as threads:
        assert len(set(threads.map(say_it, range(12)))) == 1
    with database.transaction() as s:
        assert service.feedback_stats(s, tenant.id).judgements == 1


def test_the_opposite_of_what_was_said_is_refused_and_changes_nothing(
    sqlite_database: Database, sqlite_tenant: Tenant, say: Say
) -> None:
    with sqlite_database.transaction() as s:
        say(s, sqlite_tenant, "one", "two")
        with pytest.raises(ConflictError, match="other answer before"):
            say(s, sqlite_tenant, "two", "one")
        [line] = service.export_dpo(s, sqlite_tenant.id)
    assert json.loads(line)["chosen"] == [{"role": "assistant", "content": "one"}]


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt", "reason"),
    [
        ("", "bad", "q", "empty"),
        ("good", " \n", "q", "empty"),
        ("same", " same ", "q", "the same"),
        ("good", "bad", "  ", "no question"),
    ],
)
def test_what_teaches_nothing_is_refused(
    chosen: str,
    rejected: str,
    prompt: str,
    reason: str,
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    say: Say,
) -> None:
    with sqlite_database.transaction() as s, pytest.raises(InvalidInputError, match=reason):
        say(s, sqlite_tenant, chosen, rejected, prompt)
    with pytest.raises(ValidationError):
        draft(chosen_key="not a digest")


def test_nobody_counts_for_more_than_a_day_allows(
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    say: Say,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "MAX_PAIRS_A_DAY", 3)
    with sqlite_database.transaction() as s:
        for i in range(3):
            say(s, sqlite_tenant, prompt=f"q{i}")
        with pytest.raises(BusyError, match="enough for today"):
            say(s, sqlite_tenant, prompt="q3")
        assert say(s, sqlite_tenant, prompt="q3", by="b@x")
        assert say(s, sqlite_tenant, prompt="q3", at=now + timedelta(days=1, seconds=1))


def test_the_export_has_each_pair_once_as_most_people_chose(
    sqlite_database: Database, sqlite_tenant: Tenant, say: Say
) -> None:
    with sqlite_database.transaction() as s:
        for who, answers in zip("abc", [("x", "y"), ("y", "x"), ("y", "x")], strict=True):
            say(s, sqlite_tenant, *answers, by=who, chosen_model="m1" if answers[0] == "x" else "m2")
        for who, answers in zip("ab", [("left", "right"), ("right", "left")], strict=True):
            say(s, sqlite_tenant, *answers, "tie", by=who)
        rows = [json.loads(line) for line in service.export_dpo(s, sqlite_tenant.id)]
        stats = service.feedback_stats(s, sqlite_tenant.id)
    assert rows == [
        {
            "prompt": [{"role": "user", "content": "Which?"}],
            "chosen": [{"role": "assistant", "content": "y"}],
            "rejected": [{"role": "assistant", "content": "x"}],
        }
    ]
    assert (stats.judgements, stats.people, stats.prompts, stats.exportable) == (5, 3, 2, 1)
    assert (stats.judged_twice, stats.couples) == (2, 4)
    assert stats.agreement == pytest.approx(0.25)
    assert stats.by_model == (ModelTally("m1", 1, 0), ModelTally("m2", 2, 0))
    assert stats.by_source == {"api": 5}


def test_trl_reads_the_export_as_conversations_with_a_preference(
    sqlite_database: Database, sqlite_tenant: Tenant, say: Say
) -> None:
    from trl.data_utils import is_conversational  # type: ignore[attr-defined,unused-ignore]

    with sqlite_database.transaction() as s:
        say(s, sqlite_tenant, "zwölf\n\u2028", '{"a": "}"}', "line\nbreak")
        lines = list(service.export_dpo(s, sqlite_tenant.id))
    assert all("\n" not in line for line in lines)
    row = json.loads(lines[0])
    assert is_conversational(row)
    assert row["chosen"][0]["content"] == "zwölf\n\u2028"


def test_preferences_of_another_tenant_are_not_there(
    database: Database, tenant: Tenant, other_tenant: Tenant, say: Say
) -> None:
    with database.transaction() as s:
        mine = say(s, tenant)
        assert service.feedback_stats(s, other_tenant.id).judgements == 0
        assert list(service.export_dpo(s, other_tenant.id)) == []
        assert say(s, other_tenant).id != mine.id


@given(st.text(), st.text(), st.text())
def test_the_digest_forgets_the_order_of_the_answers_and_nothing_else(a: str, b: str, prompt: str) -> None:
    turns = [Message("user", prompt)]
    assert pair_digest(turns, a, b) == pair_digest(turns, b, a)
    assert pair_digest(turns, a, b) != pair_digest(turns, a + "x", b)
    assert pair_digest(turns, a, b) != pair_digest([Message("system", prompt)], a, b)
