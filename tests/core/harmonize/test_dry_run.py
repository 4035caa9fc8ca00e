"""Trying a mapping on a source, and proposing rules for one."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.harmonize.dry_run import MappingCheck, check_mapping
from core.harmonize.findings import Finding
from core.harmonize.propose import propose_rules
from core.harmonize.records import Mapping, Rule, SourceCard
from core.harmonize.source.open import Source, open_source
from core.harmonize.suggest.memory import ConfirmedRule, Memory
from core.harmonize.suggest.suggest import to_rules

RAW = "day,campaign_id,clicks,cost_micros\n2026-03-01,00012,5,1500000\n2026-03-02,00013,7,2250000\n"
RULES: list[dict[str, Any]] = [
    {"source_field": "day", "target": "date_local"},
    {"source_field": "campaign_id", "target": "campaign_id", "transform": {"op": "string_id"}},
    {"source_field": "clicks", "target": "clicks"},
    {"source_field": "cost_micros", "target": "cost", "transform": {"op": "divide", "by": 1_000_000}},
]


def opened(folder: Path, text: str = RAW) -> Source:
    path = folder / "raw.csv"
    path.write_text(text)
    return open_source(path, work_dir=folder / "work")


def check(folder: Path, source: Source, rules: list[dict[str, Any]], **more: Any) -> Any:
    mapping = Mapping.model_validate({"rules": rules, **more})
    return check_mapping(
        source, mapping, None, work_dir=folder, pseudonym_key=None, now=datetime(2026, 4, 1, tzinfo=UTC)
    )


def test_a_mapping_that_fits_is_good_and_writes_nothing(tmp_path: Path) -> None:
    source = opened(tmp_path)
    before = set(tmp_path.rglob("*"))
    found = check(tmp_path, source, RULES, currency="USD")
    assert found.good
    assert (found.report.coverage, found.report.unmapped_columns) == (1.0, ())
    assert found.report.out_path is None
    (cost,) = [total for total in found.report.conservation if total.target == "cost"]
    assert (float(cost.input_total), float(cost.output_total), float(cost.difference)) == (3_750_000, 3.75, 0)
    assert set(tmp_path.rglob("*")) == before


def test_what_is_not_mapped_is_named(tmp_path: Path) -> None:
    found = check(tmp_path, opened(tmp_path), RULES[:2])
    assert found.report.coverage == 0.5
    assert found.report.unmapped_columns == ("clicks", "cost_micros")


def test_a_finding_of_file_and_rows_is_told_once(tmp_path: Path) -> None:
    rows = "".join(f"2026-03-0{1 + n % 9},000{n % 7},{n},{n * 10_000}\n" for n in range(200))
    found = check(tmp_path, opened(tmp_path, RAW + rows), RULES)
    keys = [(each.rule, each.columns, each.sentence) for each in found.findings]
    assert len(keys) == len(set(keys))


def test_an_error_among_the_findings_is_not_good(tmp_path: Path) -> None:
    found = check(tmp_path, opened(tmp_path), RULES)
    for severity, good in (("error", False), ("warning", True), ("note", True)):
        seen = Finding("unit.micros", severity, "Costs look like micros.")
        assert MappingCheck(found.report, (seen,)).good is good


def test_the_time_zone_above_the_header_moves_the_days(tmp_path: Path) -> None:
    text = "Time zone: America/Chicago\n\n" + RAW
    suggestions = propose_rules(opened(tmp_path, text), card=None, documents={}, memory=None)
    assert [each.source_field for each in suggestions] == ["day", "campaign_id", "clicks", "cost_micros"]
    assert (suggestions[0].target, suggestions[0].transform["source_tz"]) == ("ts", "account_timezone")
    assert {rule.target for rule in to_rules(suggestions)} == {"ts", "campaign_id", "clicks", "cost"}


def test_what_was_confirmed_before_counts(tmp_path: Path) -> None:
    source = opened(tmp_path, "xq7,day\n12,2026-03-01\n15,2026-03-02\n")
    rule = Rule.model_validate({"source_field": "xq7", "target": "branded_searches"})
    memory = Memory((ConfirmedRule("North Ads", "xq7", rule),))
    card = SourceCard(network="North Ads")
    before = propose_rules(source, card=card, documents={}, memory=None)[0]
    after = propose_rules(source, card=card, documents={}, memory=memory)[0]
    assert before.target != "branded_searches"
    assert after.target == "branded_searches"
