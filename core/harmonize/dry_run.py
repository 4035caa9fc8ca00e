"""Trying a mapping on a source without writing anything."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from core.harmonize.apply import run_harmonize
from core.harmonize.findings import Finding, find_traps
from core.harmonize.preamble import complete_card
from core.harmonize.records import Mapping, SourceCard
from core.harmonize.report import HarmonizeReport
from core.harmonize.source.records import Source

ERROR = "error"


@dataclass(frozen=True, slots=True)
class MappingCheck:
    """How a mapping fits a file: `report` of a dry run; `findings` of it, and the traps in the file itself."""

    report: HarmonizeReport
    findings: tuple[Finding, ...]

    @property
    def good(self) -> bool:
        """No finding is an error, and every total is kept to the cent."""
        return self.report.conserved and not any(each.severity == ERROR for each in self.findings)


def check_mapping(
    source: Source,
    mapping: Mapping,
    card: SourceCard | None,
    *,
    work_dir: Path,
    pseudonym_key: bytes | None,
    now: datetime | None = None,
) -> MappingCheck:
    """Coverage, totals and findings. `now` is needed to see times in the future.

    Raises InvalidInputError, RefusedFileError as `run_harmonize` does.
    """
    known = complete_card(card, source.notes, mapping)
    report = run_harmonize(source, mapping, known, work_dir=work_dir, pseudonym_key=pseudonym_key, now=now)
    return MappingCheck(report, with_traps(report, source, mapping, known, now=now).findings)


def with_traps(
    report: HarmonizeReport,
    source: Source,
    mapping: Mapping,
    card: SourceCard | None,
    *,
    now: datetime | None = None,
) -> HarmonizeReport:
    """The report of a run, with the traps of the file itself before the run's own findings."""
    told = {(each.rule, each.columns) for each in report.findings}
    traps = find_traps(source, mapping, card, now=now)
    new = [each for each in traps if (each.rule, each.columns) not in told]
    return replace(report, findings=(*new, *report.findings))
