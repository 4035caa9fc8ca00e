"""Names of files that shells, globs and databases read as something else."""

import gzip
from pathlib import Path

import pytest

from core.harmonize.apply import run_harmonize
from core.harmonize.export_databases import write_duckdb
from core.harmonize.sinks import beside
from core.harmonize.source.open import open_source
from tests.core.harmonize.apply_files import mapping_of

TEXT = "clicks,a,b\n1,2,x\n2,3,4\n"
RULES = mapping_of(
    ("clicks", "clicks"),
    ("a", "attributed_sales", {"op": "none"}, {"window_click_days": 7}),
    ("b", "attributed_sales", {"op": "none"}, {"window_click_days": 14}),
)


@pytest.mark.parametrize("name", ["a[1].csv", "a'b\"c (1) {x}.csv", "*?.csv", "%41 #;|.csv", 'q"[1].csv.gz'])
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_quotes_brackets_and_stars_in_names_are_letters(tmp_path: Path, name: str, ending: str) -> None:
    folder = tmp_path / "in['1\"]*"
    folder.mkdir()
    path = folder / name
    path.write_bytes(gzip.compress(TEXT.encode()) if name.endswith(".gz") else TEXT.encode())
    (folder / f"a1{ending}").write_text("another file that a pattern would find")
    source = open_source(path, work_dir=folder / "work")
    out = folder / f"out {name}{ending}"
    report = run_harmonize(source, RULES, None, out=out, work_dir=folder / "work")
    assert (report.rows_out, report.conserved, report.rejected_values, report.apart_rows) == (2, True, 1, 2)
    assert beside(out, "other_windows").is_file()


def test_a_database_file_may_be_called_anything(tmp_path: Path) -> None:
    import duckdb
    import polars as pl

    path = write_duckdb(pl.DataFrame({"clicks": [1, 2]}), tmp_path / "o'u\"t [1]*.duckdb", "rows")
    with duckdb.connect(path, read_only=True) as database:
        assert database.execute("select sum(clicks) from rows").fetchone() == (3,)
