"""What the editor reads of a raw file: its first rows, kept in memory, and what a mapping makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl
import streamlit as st

from app.pseudonyms import key_for
from app.ui.visit import Visit
from core.datasets import raw
from core.datasets.records import Dataset
from core.errors import InvalidInputError, RmnError
from core.harmonize.apply import harmonize
from core.harmonize.findings import Finding, find_traps
from core.harmonize.records import Mapping, Rule, SourceCard
from core.harmonize.source.open import LINE, Source
from core.rmis.vocabularies import TransformOp

SAMPLE_ROWS = 1000
SHOWN_VALUES = 6
PREVIEW_ROWS = 8
LINEAGE = ("lineage.file", "lineage.line", "lineage.mapping")


@dataclass(frozen=True)
class Preview:
    """The first rows of a file and what becomes of them. `problem` says why there is nothing."""

    raw: pl.DataFrame
    made: pl.DataFrame | None
    problem: RmnError | None = None


def sampled(dataset: Dataset) -> Source:
    """The first rows of a raw file as a source that needs no file any more. Raises as `raw.open_raw`."""
    return _sampled(dataset.id, dataset.digest, dataset)


@st.cache_resource(max_entries=16, show_spinner="Reading the first rows")
def _sampled(_id: str, digest: str, _dataset: Dataset) -> Source:
    del _id, digest  # they are what the cache tells files apart by
    with raw.open_raw(_dataset) as source:
        rows = source.frame.head(SAMPLE_ROWS).collect()
        return replace(source, frame=rows.lazy(), rows=rows.height, broken_file=None)


@st.cache_data(max_entries=64, show_spinner=False)
def shown_values(digest: str, columns: tuple[str, ...], _source: Source) -> dict[str, list[str]]:
    """Column → its first different values, as text. Untrusted."""
    del digest
    frame = _source.frame.collect()
    found = {}
    for name in columns:
        texts = frame.get_column(name).cast(pl.String, strict=False).drop_nulls()
        found[name] = [text for text in texts.unique(maintain_order=True).head(200).to_list() if text.strip()]
    return found


@st.cache_data(max_entries=64, show_spinner=False)
def traps_of(
    digest: str, mapping_text: str, card_text: str, _source: Source, _mapping: Mapping
) -> list[Finding]:
    """What looks wrong in the first rows with this mapping. Cached by the text of the mapping and of the card."""
    del digest, mapping_text
    return find_traps(_source, _mapping, SourceCard.model_validate_json(card_text))


def preview_rows(visit: Visit, source: Source, mapping: Mapping, card: SourceCard) -> Preview:
    """The first rows beside what the mapping makes of them. A mapping that does not work is a problem, no error."""
    head = source.frame.head(PREVIEW_ROWS)
    rows = head.collect()
    return _applied(visit, replace(source, frame=head, rows=rows.height), rows, mapping, card)


def preview_values(visit: Visit, source: Source, rule: Rule, card: SourceCard) -> Preview:
    """The same for one rule alone: the different values of its column, and what becomes of each."""
    if rule.source_field not in source.columns:
        return Preview(pl.DataFrame({LINE: []}), None)
    frame = source.frame.collect()
    rows = frame.unique(subset=[rule.source_field], keep="first", maintain_order=True).head(SHOWN_VALUES)
    if rule.dropped or rule.transform.op in (TransformOp.DEDUP, TransformOp.SUM_DELTA):
        return Preview(rows, None)
    one = Mapping(
        account_timezone=card.account_timezone,
        currency=card.currency,
        rules=(rule,),
    )
    return _applied(visit, replace(source, frame=rows.lazy(), rows=rows.height), rows, one, card)


def made_columns(made: pl.DataFrame, wanted: Sequence[str] | None = None) -> list[str]:
    """The columns of harmonized rows that the mapping gave, without the lineage."""
    names = [name for name in made.columns if name not in LINEAGE]
    return names if wanted is None else [name for name in names if name in wanted]


def _applied(visit: Visit, source: Source, rows: pl.DataFrame, mapping: Mapping, card: SourceCard) -> Preview:
    try:
        key = key_for(mapping, visit.console.settings.home)
        made = harmonize(source, mapping, card, pseudonym_key=key).frame.collect()
    except RmnError as error:
        return Preview(rows, None, error)
    except pl.exceptions.PolarsError:
        problem = InvalidInputError(
            "These rules cannot be applied to the first rows.",
            "A value has another form than its rule says.",
            "Change the rule that you changed last, or undo it.",
        )
        return Preview(rows, None, problem)
    return Preview(rows, made)
