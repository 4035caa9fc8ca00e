"""Where a harmonized cell comes from."""

from app.actions import datasets, harmonize, mappings
from app.bootstrap import Console
from app.pseudonyms import key_for
from core.datasets import raw
from core.harmonize.lineage import CellLineage, explain_cell
from core.harmonize.preamble import complete_card
from core.harmonize.records import SourceCard
from core.harmonize.saved import HarmonizedRun
from core.tenants.records import Principal


def explain_cell_of_run(
    c: Console, p: Principal, run_id: str, *, line: int, target: str, row: int = 0
) -> CellLineage:
    """Read the line again with the mapping and the card of the run. `row` counts the rows that the line became.

    Raises NotFoundError, InvalidInputError (no such column), IntegrityError when the file has changed since.
    """
    run = harmonize.get_run(c, p, run_id)
    dataset = datasets.get_dataset(c, p, run.dataset_id)
    mapping = mappings.find_version(c, p, run.mapping_version_id).mapping
    card, given = raw.told_card(dataset), _card_of_run(c, p, run)
    if given is not None:
        card = given if card is None else card.model_copy(update=given.model_dump(exclude_unset=True))
    with raw.open_raw(dataset) as source:
        return explain_cell(
            source,
            mapping,
            complete_card(card, source.notes, mapping),
            line=line,
            target=target,
            row=row,
            pseudonym_key=key_for(mapping, c.settings.home),
        )


def _card_of_run(c: Console, p: Principal, run: HarmonizedRun) -> SourceCard | None:
    """The card that the run was submitted with."""
    if run.job_id is None:
        return None
    return harmonize.HarmonizeSpec.model_validate(harmonize.get_job(c, p, run.job_id).spec).card
