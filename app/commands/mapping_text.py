"""What the commands of mappings print for people."""

import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

from app.commands.harmonize import totals_table
from app.commands.output import facts, printable, table
from core.harmonize.dry_run import MappingCheck
from core.harmonize.mapping_files import RuleChange
from core.harmonize.records import Qualifier, Rule
from core.harmonize.saved import MappingVersion
from core.harmonize.suggest.suggest import Suggestion

SHOWN_LETTERS = 60


def suggestions_text(found: Sequence[Suggestion]) -> str:
    """What is proposed, one line for each column."""
    return table(
        ("COLUMN", "TARGET", "TRANSFORM", "QUALIFIERS", "SURE", "WHY"),
        (
            (
                each.source_field,
                "?" if each.abstained else each.target or "–",
                transform_text(each.transform),
                qualifiers_text(each.qualifiers),
                f"{each.confidence:.0%}",
                each.reason,
            )
            for each in found
        ),
        "The file has no columns.",
    ) + "".join(f"\n? {printable(each.question)}" for each in found if each.question)


def check_text(found: MappingCheck) -> str:
    """How a mapping fits a file: rows, totals, findings."""
    report = found.report
    parts = [
        facts(
            [
                ("rows", f"{report.rows_in:,} in, {report.rows_out:,} out, {report.broken_rows:,} broken"),
                ("coverage", f"{report.coverage:.0%} of the columns"),
                ("not mapped", ", ".join(report.unmapped_columns) or None),
            ]
        ),
        table(
            ("MEASURE", "COLUMN", "INPUT", "SET ASIDE", "OUTPUT", "DIFFERENCE"),
            totals_table(report),
            "No measures.",
        ),
        table(
            ("SEVERITY", "RULE", "ROWS", "LINES", "WHAT"),
            (
                (f.severity, f.rule, f.rows, ",".join(map(str, f.lines[:5])), f.sentence)
                for f in found.findings
            ),
            "Nothing found.",
        ),
    ]
    return "\n\n".join(parts)


def version_text(version: MappingVersion, others: Sequence[MappingVersion]) -> str:
    """A version with its rules."""
    mapping = version.mapping
    head = facts(
        [
            ("name", version.label),
            ("state", version.state),
            ("retailer", mapping.retailer or None),
            ("network", mapping.network or None),
            ("report", mapping.report or None),
            ("time zone", mapping.account_timezone),
            ("currency", mapping.currency),
            ("digest", version.digest),
            ("note", version.note or None),
            ("saved", f"{version.created_at.isoformat()} by {version.author}"),
            ("versions", ", ".join(f"{o.version} ({o.state})" for o in others)),
        ]
    )
    rules = table(
        ("COLUMN", "TARGET", "TRANSFORM", "QUALIFIERS"),
        (
            (
                r.source_field,
                r.target or "–",
                transform_text(r.transform.plain()),
                qualifiers_text(r.qualifiers),
            )
            for r in mapping.rules
        ),
        "No rules.",
    )
    return f"{head}\n\n{rules}"


def change_document(change: RuleChange) -> dict[str, Any]:
    """A changed rule as JSON."""
    return {
        "source_field": change.source_field,
        "before": None if change.before is None else change.before.plain(),
        "after": None if change.after is None else change.after.plain(),
    }


def changes_text(changes: Sequence[RuleChange], width: int | None = None) -> str:
    """What differs between two versions: under each column its rule before and after, whole, broken into lines."""
    if not changes:
        return "Their rules are the same."
    columns = width or shutil.get_terminal_size((100, 24)).columns
    told = []
    for change in changes:
        lines = [printable(change.source_field)]
        for word, rule in (("before", change.before), ("after", change.after)):
            text = f"  {word:<6}  {printable(rule_text(rule))}"
            lines += textwrap.wrap(text, max(columns, 40), subsequent_indent=" " * 10, break_on_hyphens=False)
        told.append("\n".join(lines))
    return "\n\n".join(told)


def rule_text(rule: Rule | None) -> str:
    """What a rule does, in one line and whole."""
    if rule is None:
        return "–"
    parts = (
        rule.target or "nothing",
        whole_transform_text(rule.transform.plain()),
        qualifiers_text(rule.qualifiers),
    )
    return " · ".join(part for part in parts if part)


def whole_transform_text(transform: dict[str, Any]) -> str:
    """An operation with its parameters."""
    rest = ", ".join(f"{name}={value}" for name, value in transform.items() if name != "op")
    return f"{transform['op']} {rest}".strip()


def transform_text(transform: dict[str, Any]) -> str:
    """The same, shortened to fit in a table."""
    whole = whole_transform_text(transform)
    return whole if len(whole) <= SHOWN_LETTERS else whole[: SHOWN_LETTERS - 1].rstrip() + "…"


def qualifiers_text(qualifiers: dict[str, Qualifier]) -> str:
    """What is known of an outcome number."""
    return " ".join(f"{name}={value}" for name, value in qualifiers.items() if value is not None)
