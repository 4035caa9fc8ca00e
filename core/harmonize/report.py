"""What harmonizing a file gives to know: rows, coverage, totals to the cent, findings, and where everything lies."""

from dataclasses import dataclass
from pathlib import Path

from core.harmonize.findings import Finding
from core.harmonize.records import Qualifier


@dataclass(frozen=True)
class MeasureTotals:
    """One source column against the RMIS column it fills. All amounts are exact decimals as text.

    `input_total`, `duplicates_total` and `rejected_total` are in units of the source; `rejected_total` is what could be
    read of values that did not fit. `difference` = `output_total` - what the rest of the input makes in units of RMIS.
    `rows` have a value in the output. Not `exact`: the factor is a column, so the difference is rounded to millionths.
    """

    target: str
    qualifiers: dict[str, Qualifier]
    source_field: str
    input_total: str
    output_total: str
    difference: str
    rows: int
    exact: bool
    duplicates_total: str = "0"
    rejected_total: str = "0"
    rejected_rows: int = 0
    apart: bool = False


@dataclass(frozen=True)
class HarmonizeReport:
    """The account of one run. Paths are None where nothing was written. `coverage`: 0 to 1.

    `rejected_values` counts the values that did not fit; each is a line of the file at `rejected_path`.
    """

    rows_in: int
    rows_out: int
    broken_rows: int
    duplicates_removed: int
    suppressed_rows: int
    coverage: float
    unmapped_columns: tuple[str, ...]
    conservation: tuple[MeasureTotals, ...]
    findings: tuple[Finding, ...]
    qualifiers: dict[str, Qualifier]
    out_path: Path | None
    out_digest: str | None
    rejected_path: Path | None
    apart_path: Path | None
    mapping_digest: str
    source_digest: str
    seconds: float
    rejected_values: int = 0
    apart_rows: int = 0

    @property
    def conserved(self) -> bool:
        """Whether every total of the input is in the output."""
        return all(not float(each.difference) for each in self.conservation)
