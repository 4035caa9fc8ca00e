"""A rule for every column of an opened source, from its first rows and all that is known of it."""

from collections.abc import Mapping, Sequence

from core.harmonize.preamble import complete_card
from core.harmonize.records import SourceCard
from core.harmonize.source import sample
from core.harmonize.source_records import Source
from core.harmonize.suggest.evidence import Voice
from core.harmonize.suggest.memory import Memory
from core.harmonize.suggest.profile import profile_columns
from core.harmonize.suggest.suggest import Suggestion, suggest

SAMPLE_ROWS = 1000


def propose_rules(
    source: Source,
    *,
    card: SourceCard | None,
    documents: Mapping[str, str],
    memory: Memory | None,
    voices: Sequence[Voice] = (),
) -> list[Suggestion]:
    """One suggestion for each column, in the order of the source. No database, no network, no model of its own."""
    columns = profile_columns(sample(source, rows=SAMPLE_ROWS))
    known = complete_card(card, source.notes)
    return suggest(columns, card=known, documents=documents, memory=memory, voices=voices)
