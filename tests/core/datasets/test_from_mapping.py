"""Training sets made from a raw file and a confirmed mapping."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.datasets.examples import open_examples
from core.datasets.fixes import as_lines
from core.datasets.from_mapping import SetPlan, build_rows
from core.demo.retailers import RETAILER_ALPHA, RETAILER_DELTA, RetailerSpec, transform_of
from core.errors import InvalidInputError
from core.harmonize.records import Mapping, SourceCard
from core.harmonize.source.open import open_source
from core.rmis.facts import validate_record
from core.settings import PROJECT_ROOT

EVENTS = PROJECT_ROOT / "datasets" / "events"


def mapping_of(spec: RetailerSpec) -> Mapping:
    rules: list[dict[str, Any]] = [
        {
            "source_field": column.name,
            "target": column.target or None,
            "transform": transform_of(spec, column),
            "qualifiers": dict(column.qualifiers),
        }
        for column in spec.columns
    ]
    return Mapping.model_validate(
        {"retailer": spec.name, "account_timezone": spec.timezone, "currency": spec.currency, "rules": rules}
    )


def rows_of(spec: RetailerSpec, file: str, folder: Path, plan: SetPlan = SetPlan()) -> list[dict[str, Any]]:
    source = open_source(EVENTS / file, work_dir=folder)
    return build_rows(source, mapping_of(spec), SourceCard(currency=spec.currency), plan)


def test_a_flat_file_gives_records_in_the_words_of_the_shipped_sets(tmp_path: Path) -> None:
    rows = rows_of(RETAILER_ALPHA, "retailer_alpha.csv", tmp_path)
    records = [row for row in rows if row["prompt"].startswith("Harmonize: ")]
    first = next(row for row in records if "gkauft" in row["prompt"])
    assert first["prompt"].startswith("Harmonize: Retailer Alpha\nzeitmrk=2026-")
    answer = json.loads(first["completion"])
    assert answer["event_type"] == "purchase"
    assert answer["ts"].endswith("Z")
    assert answer["currency"] == "USD"
    for row in records:
        assert validate_record(json.loads(row["completion"])) == []


def test_every_code_and_every_column_is_trained_on(tmp_path: Path) -> None:
    rows = rows_of(RETAILER_ALPHA, "retailer_alpha.csv", tmp_path, SetPlan(train=30, validation=5, test=10))
    training = "\n".join(row["prompt"] for row in rows if row["split"] == "train")
    for column in RETAILER_ALPHA.columns:
        assert f"{column.name}=" in training
        for code, _ in column.codes:
            assert f"{column.name}={code}|" in training


def test_splits_have_the_rows_asked_for_and_no_record_twice(tmp_path: Path) -> None:
    rows = rows_of(RETAILER_ALPHA, "retailer_alpha.csv", tmp_path, SetPlan(columns=False))
    assert [sum(r["split"] == s for r in rows) for s in ("train", "validation", "test")] == [400, 60, 150]
    assert len({row["prompt"] for row in rows}) == 610
    assert {row["slice"] for row in rows if row["split"] == "test"} == {"new_values"}


def test_a_column_that_is_held_out_is_in_no_training_row(tmp_path: Path) -> None:
    plan = SetPlan(train=60, validation=10, test=20, held_out=("device",))
    rows = rows_of(RETAILER_ALPHA, "retailer_alpha.csv", tmp_path, plan)
    assert not any("device" in row["prompt"] + row["completion"] for row in rows if row["split"] != "test")
    apart = [row for row in rows if row["slice"] == "held_out_columns"]
    assert len(apart) == 20
    assert any('"device":"' in row["completion"] for row in apart)


def test_a_nested_file_gives_nested_records(tmp_path: Path) -> None:
    rows = rows_of(RETAILER_DELTA, "retailer_delta.jsonl", tmp_path, SetPlan(train=40, validation=5, test=10))
    record = next(row for row in rows if row["prompt"].startswith("Harmonize"))
    raw = json.loads(record["prompt"].split("\n", 1)[1])
    assert set(raw) <= {"evo", "adq", "itx"}
    answer = json.loads(record["completion"])
    assert answer["cost"] == pytest.approx(int(raw["adq"]["gst_ctv"]) / 100)
    assert answer["upc"] == raw["itx"]["barra"].zfill(14)


def test_columns_are_asked_for_with_their_values(tmp_path: Path) -> None:
    rows = rows_of(RETAILER_ALPHA, "retailer_alpha.csv", tmp_path)
    asked = [row for row in rows if row["prompt"].startswith("Map column: Retailer Alpha\nplz_art = ")]
    assert len(asked) == 4
    shown = asked[0]["prompt"].split(" = ")[1].split(", ")
    told = json.loads(asked[0]["completion"])
    assert told["target"] == "placement_type"
    assert set(told["transform"]["map"]) == set(shown)


def test_the_rows_are_a_training_file_and_the_same_each_time(tmp_path: Path) -> None:
    plan = SetPlan(train=40, validation=5, test=10, seed=3)
    rows = rows_of(RETAILER_ALPHA, "retailer_alpha.csv", tmp_path, plan)
    path = tmp_path / "set.jsonl"
    path.write_bytes(as_lines(rows))
    outline, examples = open_examples(path)
    assert len(list(examples)) == len(rows)
    assert outline.names_splits
    again = rows_of(RETAILER_ALPHA, "retailer_alpha.csv", tmp_path, plan)
    assert again == rows


def test_a_file_with_too_few_records_is_refused(tmp_path: Path) -> None:
    small = tmp_path / "small.csv"
    small.write_text("".join((EVENTS / "retailer_alpha.csv").read_text().splitlines(keepends=True)[:10]))
    with pytest.raises(InvalidInputError, match="records come out"):
        build_rows(open_source(small, work_dir=tmp_path), mapping_of(RETAILER_ALPHA))


def test_a_mapping_without_a_retailer_is_refused(tmp_path: Path) -> None:
    nameless = mapping_of(RETAILER_ALPHA).model_copy(update={"retailer": ""})
    with pytest.raises(InvalidInputError, match="whose file"):
        build_rows(open_source(EVENTS / "retailer_alpha.csv", work_dir=tmp_path), nameless)
