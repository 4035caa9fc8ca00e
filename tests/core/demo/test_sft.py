import json
from hashlib import sha256
from pathlib import Path

import pytest

from core.demo.retailers import TEST_RETAILERS, RetailerSpec
from core.demo.sft import demo_sets, write_sft_sets

SHIPPED = Path(__file__).parents[3] / "datasets"
RETAILERS = pytest.mark.parametrize("spec", TEST_RETAILERS, ids=lambda spec: spec.slug)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_sft_sets(tmp_path_factory.mktemp("sets"))


def _rows(written: list[Path], name: str) -> list[dict[str, str | None]]:
    path = next(path for path in written if path.name == f"{name}.jsonl" and path.parent.name == "sft")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_shipped_files_are_what_the_seed_gives(written: list[Path]):
    for path in written:
        shipped = SHIPPED / path.parent.name / path.name
        assert shipped.read_bytes() == path.read_bytes(), shipped


def test_every_card_states_its_file(written: list[Path]):
    for path in written:
        if path.name.endswith(".card.json"):
            card = json.loads(path.read_text(encoding="utf-8"))
            content = path.with_name(f"{card['name']}.jsonl").read_bytes()
            assert card["digest"] == sha256(content).hexdigest()
            assert card["rows"] == len(content.decode().splitlines()) == sum(card["splits"].values())
            assert card["simulated"] is True
            assert card["kind"] == path.parent.name


@RETAILERS
def test_new_values_were_never_trained_on(written: list[Path], spec: RetailerSpec):
    rows = _rows(written, f"retailer_{spec.slug}")
    trained: set[tuple[str, object]] = set()
    checked = {"ts", "cost", "attributed_sales", "price", "ntb_sales"}
    for row in rows:
        if row["split"] == "train":
            trained.update(json.loads(str(row["completion"])).items())
    test = [row for row in rows if row["split"] == "test"]
    for row in test:
        for name, value in json.loads(str(row["completion"])).items():
            if name in checked or name.endswith("_id") or name in ("sku", "upc"):
                assert (name, value) not in trained
    assert sum(row["slice"] == "new_values" for row in test) >= 120
    assert sum(row["slice"] == "held_out_columns" for row in test) >= 60


@RETAILERS
def test_held_out_columns_occur_in_no_training_row(written: list[Path], spec: RetailerSpec):
    leaves = [column.name.split(".")[-1] for column in spec.columns if column.held_out]
    for row in _rows(written, f"retailer_{spec.slug}"):
        shown = [
            leaf for leaf in leaves if f"{leaf}=" in str(row["prompt"]) or f'"{leaf}":' in str(row["prompt"])
        ]
        assert bool(shown) == (row["slice"] == "held_out_columns")


@RETAILERS
def test_column_questions_are_asked_once(written: list[Path], spec: RetailerSpec):
    prompts = [row["prompt"] for row in _rows(written, f"retailer_{spec.slug}_columns")]
    assert len(prompts) == len(set(prompts))


def test_training_rows_are_300_to_500_for_records():
    for demo_set in demo_sets():
        if demo_set.name.startswith("retailer_") and not demo_set.name.endswith("_columns"):
            assert 300 <= sum(row["split"] == "train" for row in demo_set.rows) <= 500


def test_preference_pairs_differ(written: list[Path]):
    path = next(path for path in written if path.parent.name == "dpo" and path.suffix == ".jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(row["chosen"] != row["rejected"] for row in rows)
    assert {row["split"] for row in rows} == {"train", "validation", "test"}
