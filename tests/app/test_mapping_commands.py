"""mapping and harmonize on the command line, with and without a workspace."""

import json
import logging
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import structlog

from app.__main__ import main
from core.settings import PROJECT_ROOT

Run = Callable[..., Any]

RAW = """Date,Campaign ID,Impressions,Clicks,Spend (micros),14 Day Total Sales,CTR
2026-03-01,000123456789012345,1000,10,1500000,"$1,234.50",0.0100
2026-03-02,000123456789012345,2000,25,3750000,$80.00,0.0125
2026-03-02,000123456789012346,500,0,0,,0.0000
"""
MAPPING: dict[str, Any] = {
    "retailer": "North Stores",
    "network": "North Ads",
    "report": "campaign_daily",
    "account_timezone": "America/Chicago",
    "currency": "USD",
    "headline": {"window_click_days": 14},
    "rules": [
        {
            "source_field": "Date",
            "target": "ts",
            "transform": {
                "op": "to_utc",
                "format": "%Y-%m-%d",
                "source_tz": "account_timezone",
                "grain": "day",
            },
        },
        {"source_field": "Campaign ID", "target": "campaign_id", "transform": {"op": "string_id"}},
        {"source_field": "Impressions", "target": "impressions", "transform": {"op": "none"}},
        {"source_field": "Clicks", "target": "clicks", "transform": {"op": "none"}},
        {"source_field": "Spend (micros)", "target": "cost", "transform": {"op": "divide", "by": 1000000}},
        {
            "source_field": "14 Day Total Sales",
            "target": "attributed_sales",
            "transform": {"op": "parse_number", "strip": "$,"},
            "qualifiers": {"window_click_days": 14, "touch": "click", "sku_scope": "total"},
        },
        {"source_field": "CTR", "target": "derived.ctr", "transform": {"op": "drop"}},
    ],
}
SUGGESTION = {
    "question",
    "source_field",
    "target",
    "transform",
    "qualifiers",
    "confidence",
    "reason",
    "abstained",
    "alternatives",
}


@pytest.fixture
def log_kept() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_kept: None) -> Path:
    """A home folder that was never set up."""
    monkeypatch.setenv("RMN_HOME", str(tmp_path / "bare"))
    return tmp_path / "bare"


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch, log_kept: None) -> Path:
    """A home folder with an empty database."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(sqlite_template, home / "rmn.sqlite")
    monkeypatch.setenv("RMN_HOME", str(home))
    return home


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; its JSON answer, or with `text` what it prints. The exit status must be `status`."""

    def run_one(*arguments: object, status: int | None = 0, text: bool = False) -> Any:
        capsys.readouterr()
        found = main([*map(str, arguments), *([] if text else ["--json"])])
        out, err = capsys.readouterr()
        assert status in (None, found), (out, err)
        return out if text else json.loads(out)

    return run_one


@pytest.fixture
def raw_file(tmp_path: Path) -> Path:
    path = tmp_path / "export.csv"
    path.write_text(RAW)
    return path


@pytest.fixture
def mapping_file(tmp_path: Path) -> Path:
    path = tmp_path / "north.json"
    path.write_text(json.dumps(MAPPING))
    return path


def test_a_bare_file_gets_a_suggestion_for_every_column_and_sets_nothing_up(
    bare: Path, run: Run, raw_file: Path
) -> None:
    found = run("mapping", "suggest", raw_file)
    assert isinstance(found, list)
    assert [each["source_field"] for each in found] == RAW.partition("\n")[0].split(",")
    assert all(set(each) == SUGGESTION for each in found)
    by_name = {each["source_field"]: each for each in found}
    assert by_name["Date"]["target"] == "ts"
    assert by_name["Campaign ID"]["target"] == "campaign_id"
    assert by_name["Impressions"]["target"] == "impressions"
    assert by_name["CTR"]["transform"] == {"op": "drop"}
    assert all(0 <= each["confidence"] <= 1 and each["reason"] for each in found)
    assert not bare.exists()


def test_the_card_beside_the_file_is_found_by_itself(bare: Path, run: Run, raw_file: Path) -> None:
    (raw_file.parent / "card.json").write_text(json.dumps({"network": "Any", "account_timezone": "UTC"}))
    run("mapping", "suggest", raw_file)
    (raw_file.parent / "export.card.json").write_text('{"currency": "no code"}')
    assert run("mapping", "suggest", raw_file, status=1)["error"]["code"] == "invalid_input"
    good = raw_file.parent / "mine.json"
    good.write_text(json.dumps({"network": "Any", "currency": "USD"}))
    run("mapping", "suggest", raw_file, "--card", good)


def test_a_description_of_the_columns_is_taken_into_account(bare: Path, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("Datum,xq7\n2026-03-01,12\n2026-03-02,15\n")
    documents = tmp_path / "columns.md"
    documents.write_text("xq7: Number of clicks on the ad.\n")
    before = run("mapping", "suggest", path)[1]
    after = run("mapping", "suggest", path, "--documents", documents)[1]
    assert before["target"] != "clicks"
    assert after["target"] == "clicks"


def test_a_file_is_harmonized_without_a_workspace(
    bare: Path, run: Run, raw_file: Path, mapping_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rows.csv"
    told = run("harmonize", raw_file, "--mapping", mapping_file, "--out", out)
    assert (told["rows_in"], told["rows_out"], told["conserved"]) == (3, 3, True)
    rows = pl.read_csv(out, infer_schema=False).to_dicts()
    assert [row["ts"] for row in rows] == [
        "2026-03-01T06:00:00Z",
        "2026-03-02T06:00:00Z",
        "2026-03-02T06:00:00Z",
    ]
    assert rows[0]["campaign_id"] == "000123456789012345"
    assert [float(row["cost"]) for row in rows] == [1.5, 3.75, 0.0]
    assert [row["attributed_sales"] for row in rows][2] is None
    assert float(rows[0]["attributed_sales"]) == 1234.5
    assert rows[0]["window_click_days"] == "14"
    assert not any(name.startswith("derived") for name in rows[0])
    totals = {each["target"]: each for each in told["conservation"]}
    assert float(totals["cost"]["output_total"]) == 5.25
    assert not bare.exists()


def test_apply_is_another_name_of_harmonize_and_writes_the_same_bytes(
    bare: Path, run: Run, raw_file: Path, mapping_file: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    run("harmonize", raw_file, "--mapping", mapping_file, "--out", first)
    run("mapping", "apply", raw_file, "--mapping", mapping_file, "--out", second)
    assert first.read_bytes() == second.read_bytes()
    assert pl.read_parquet(first)["cost"].to_list() == [1.5, 3.75, 0.0]


def test_the_card_on_the_command_line_counts_for_more_than_the_mapping(
    bare: Path, run: Run, raw_file: Path, mapping_file: Path, tmp_path: Path
) -> None:
    card = tmp_path / "berlin.json"
    card.write_text(json.dumps({"account_timezone": "Europe/Berlin", "currency": "EUR"}))
    out = tmp_path / "rows.csv"
    run("harmonize", raw_file, "--mapping", mapping_file, "--card", card, "--out", out)
    row = pl.read_csv(out, infer_schema=False).to_dicts()[0]
    assert (row["ts"], row["currency"]) == ("2026-02-28T23:00:00Z", "EUR")


def test_out_must_say_its_format(bare: Path, raw_file: Path, mapping_file: Path, tmp_path: Path) -> None:
    assert main(["harmonize", str(raw_file), "--mapping", str(mapping_file), "--out", "rows.txt"]) == 2


def test_a_mapping_that_fits_is_good_and_one_that_does_not_says_why(
    bare: Path, run: Run, raw_file: Path, mapping_file: Path
) -> None:
    told = run("mapping", "check", mapping_file, raw_file)
    assert told["coverage"] == 1.0
    assert told["good"] is True
    assert {each["target"] for each in told["conservation"]} >= {"cost", "clicks", "impressions"}
    assert {"warnings", "findings", "unmapped_columns"} <= told.keys()
    text = run("mapping", "check", mapping_file, raw_file, text=True)
    assert "coverage" in text
    assert "cost" in text
    few = {**MAPPING, "rules": MAPPING["rules"][:3]}
    mapping_file.write_text(json.dumps(few))
    told = run("mapping", "check", mapping_file, raw_file)
    assert told["coverage"] < 0.6
    assert "Clicks" in told["unmapped_columns"]


def test_a_column_that_is_not_there_is_warned_of_and_an_error_gives_status_one(
    bare: Path, run: Run, raw_file: Path, mapping_file: Path
) -> None:
    raw_file.write_text(RAW.replace("Spend (micros)", "Cost"))
    told = run("mapping", "check", mapping_file, raw_file)
    assert any("Spend (micros)" in each["columns"] for each in told["warnings"])
    assert told["unmapped_columns"] == ["Cost"]
    raw_file.write_text(RAW.replace("1500000", "1.5").replace("3750000", "3.75"))
    told = run("mapping", "check", mapping_file, raw_file, status=None)
    assert told["good"] is all(each["severity"] != "error" for each in told["findings"])


def test_a_mapping_that_is_nowhere_is_said_plainly(bare: Path, run: Run, raw_file: Path) -> None:
    for given in ("nobody", "nobody.yaml", "nobody@2"):
        error = run("mapping", "check", given, raw_file, status=1)["error"]
        assert error["code"] == "not_found"
        assert given in error["what"]
    assert not bare.exists()


def test_a_mapping_is_saved_used_compared_and_written_out(
    home: Path, run: Run, raw_file: Path, mapping_file: Path, tmp_path: Path
) -> None:
    saved = run("mapping", "save", mapping_file, "--name", "north", "--note", "first", "--activate")
    assert (saved["version"], saved["state"], saved["rules"]) == (1, "active", 7)
    assert run("mapping", "save", mapping_file, "--name", "north")["version"] == 1
    cents = json.loads(json.dumps(MAPPING).replace("1000000", "100"))
    mapping_file.write_text(json.dumps(cents))
    assert run("mapping", "save", mapping_file, "--name", "north")["version"] == 2
    (change,) = run("mapping", "diff", "north", 1, 2)
    assert (change["source_field"], change["before"]["transform"]["by"]) == ("Spend (micros)", 1000000)
    (listed,) = run("mapping", "list")
    assert (listed["name"], listed["active_version"], listed["latest_version"]) == ("north", 1, 2)
    told = run("harmonize", raw_file, "--mapping", "north", "--out", tmp_path / "rows.csv")
    assert told["mapping"] == "north@1"
    assert run("mapping", "activate", "north@2")["state"] == "active"
    assert run("mapping", "activate", "north")["version"] == 2
    shown = run("mapping", "show", "north@1")
    assert (shown["state"], len(shown["versions"]), shown["mapping"]["network"]) == (
        "retired",
        2,
        "North Ads",
    )
    written = run("mapping", "export", "north@1", "--to", tmp_path / "out.yaml")
    assert Path(written["path"]).is_file()
    again = run("mapping", "save", tmp_path / "out.yaml", "--name", "north")
    assert (again["version"], again["digest"]) == (1, saved["digest"])
    for command in (["list"], ["show", "north"], ["diff", "north", "1", "2"]):
        assert "north" in run("mapping", *command, text=True) or command[0] == "diff"


def test_what_was_confirmed_is_remembered_by_the_next_suggestion(
    home: Path, run: Run, tmp_path: Path, mapping_file: Path
) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("Datum,xq7\n2026-03-01,12\n2026-03-02,15\n")
    (tmp_path / "card.json").write_text(json.dumps({"network": "North Ads"}))
    before = run("mapping", "suggest", path)[1]
    assert before["target"] != "branded_searches"
    rules = [{"source_field": "xq7", "target": "branded_searches", "transform": {"op": "none"}}]
    mapping_file.write_text(json.dumps({"network": "North Ads", "rules": rules}))
    run("mapping", "save", mapping_file, "--name", "odd", "--activate")
    after = run("mapping", "suggest", path)[1]
    assert after["target"] == "branded_searches"
    assert after["confidence"] > before["confidence"]


def seconds_of_children() -> float:
    """Processor time of the processes that have ended: what others compute meanwhile is not part of it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_two_hundred_columns_are_answered_within_five_seconds_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    names = [f"metric_{n}_clicks_7d" if n % 2 else f"Total Spend {n}" for n in range(200)]
    rows = "\n".join(",".join(str(row * n % 97) for n in range(200)) for row in range(1000))
    path.write_text(",".join(names) + "\n" + rows + "\n")
    code = (
        "import sys; from app.__main__ import main; status = main(sys.argv[1:]); "
        "sys.stderr.write(repr([n for n in ('torch', 'transformers', 'peft') if n in sys.modules])); "
        "sys.exit(status)"
    )
    before = seconds_of_children()
    done = subprocess.run(
        [sys.executable, "-c", code, "mapping", "suggest", str(path), "--json"],
        cwd=PROJECT_ROOT,
        env={"RMN_HOME": str(tmp_path / "none"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    took = seconds_of_children() - before
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("[]")
    assert len(json.loads(done.stdout)) == 200
    assert took < 5, f"{took:.1f} s"


def test_all_commands_together_load_no_torch_and_one_alone_loads_no_server() -> None:
    heavy = ["torch", "transformers", "peft", "trl"]
    alone = [*heavy, "sqlalchemy", "alembic", "dbos", "duckdb", "psycopg", "scipy", "streamlit", "fastapi"]
    for names, unwanted in (("", heavy), ("['mapping', 'harmonize']", alone)):
        code = (
            f"import sys; from app.__main__ import build_cli; build_cli({names}); "
            f"print([name for name in {unwanted!r} if name in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout.strip() == "[]", (names, done.stdout, done.stderr)
