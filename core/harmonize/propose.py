"""A rule for every column of an opened source, from its first rows and all that is known of it."""

from collections.abc import Mapping, Sequence

import polars as pl

from core.harmonize.preamble import complete_card
from core.harmonize.records import SourceCard
from core.harmonize.source.open import sample, sound_data
from core.harmonize.source.records import Source, SourceKind
from core.harmonize.suggest.evidence import Voice
from core.harmonize.suggest.memory import Memory
from core.harmonize.suggest.profile import ColumnProfile, profile_columns
from core.harmonize.suggest.suggest import Suggestion, suggest
from core.harmonize.values.separators import count_separators

SAMPLE_ROWS = 1000
#: Formats that have numbers of their own, which are written with a point whatever the country.
_WITH_POINT = frozenset({SourceKind.JSON, SourceKind.JSONL, SourceKind.PARQUET, SourceKind.XLSX})


def propose_rules(
    source: Source,
    *,
    card: SourceCard | None,
    documents: Mapping[str, str],
    memory: Memory | None,
    voices: Sequence[Voice] = (),
) -> list[Suggestion]:
    """One suggestion for each column, in the order of the source. No database, no network, no model of its own."""
    columns = _profiled(source)
    known = complete_card(card, source.notes)
    return suggest(columns, card=known, documents=documents, memory=memory, voices=voices)


def _profiled(source: Source) -> list[ColumnProfile]:
    """Profiles of the first rows; how numbers are written is counted over all rows."""
    head = sample(source, rows=SAMPLE_ROWS)
    columns = profile_columns(head, point=source.kind in _WITH_POINT)
    written = [each.name for each in columns if each.numeric and head.schema[each.name] == pl.String]
    if head.height < SAMPLE_ROWS or not written:
        return columns
    with sound_data(source.name):
        seen = count_separators(source.frame, written)
    return profile_columns(head, seen, point=source.kind in _WITH_POINT) if seen else columns
