"""What a gate is trained from, and the rows for it: prompts whose best adapter is known. No torch."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.orm import Session

from core.compose.records import GateKind
from core.datasets import service as datasets
from core.datasets.formats import read_rows
from core.datasets.records import Dataset, Example, Split
from core.datasets.rows import Row
from core.datasets.splits import same_prompt
from core.errors import ConflictError, InvalidInputError, NotFoundError
from core.registry import service as registry
from core.registry.records import Adapter, AdapterState

KIND = "gate"
ADAPTER_COLUMN = "adapter"
BASE_WORD = "base"
ROUTED_ROWS = 400  # held-out prompts of each choice that are routed; only some of them are answered too


class GateSource(BaseModel):
    """One adapter of a gate, and the dataset whose prompts it is best at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    adapter_id: str
    dataset_id: str | None = Field(None, description="null: the rows of `labelled_dataset_id` that name it.")


class GateTrainingSpec(BaseModel):
    """One gate. Valid once built; contradictions are refused here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    kind: GateKind = GateKind.ROUTER
    sources: tuple[GateSource, ...] = Field(min_length=2, max_length=16)
    base_dataset_id: str | None = Field(None, description="Prompts that the base should answer itself.")
    labelled_dataset_id: str | None = Field(
        None, description=f"One set with a column «{ADAPTER_COLUMN}» that names the best adapter of each row."
    )
    train_rows: int = Field(400, ge=8, le=20_000, description="Most prompts of each choice to learn from.")
    evaluation_rows: int = Field(72, ge=8, le=5_000, description="Held-out rows that every choice answers.")
    steps: int = Field(60, ge=1, le=5_000, description="Steps of a static gate's training.")
    top_k: int = Field(2, ge=1, le=16, description="Adapters that act at a token, for the kind token.")
    temperature: float = Field(1.0, gt=0.0, le=100.0, description="For the kind token.")
    seed: int = Field(0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _each_once(self) -> "GateTrainingSpec":
        if len({source.adapter_id for source in self.sources}) < len(self.sources):
            raise ValueError("each adapter is named once")
        if self.labelled_dataset_id is None and any(s.dataset_id is None for s in self.sources):
            raise ValueError("each adapter needs a dataset, or one dataset names the adapter of each row")
        return self


@dataclass(frozen=True, slots=True)
class Labelled:
    """One row, and the place of its best adapter; the number of adapters stands for the base."""

    example: Example
    label: int


@dataclass(frozen=True, slots=True)
class GateData:
    """Rows by what they may be used for. No prompt of `test` is in the others, whatever dataset it came from."""

    train: tuple[Labelled, ...]
    validation: tuple[Labelled, ...]
    test: tuple[Labelled, ...]
    with_base: bool


@dataclass(frozen=True, slots=True)
class KnownGate:
    """What the database says about a gate that is to be trained: adapters, and their datasets in the same order."""

    adapters: tuple[Adapter, ...]
    datasets: tuple[Dataset | None, ...]
    base_dataset: Dataset | None
    labelled: Dataset | None


def look_up(s: Session, tenant_id: str, spec: GateTrainingSpec) -> KnownGate:
    """Adapters and datasets of a gate. Short: no file is read here.

    Raises NotFoundError, ConflictError (an adapter is not active, or they are of different bases or of one content).
    """
    adapters = tuple(registry.get_adapter(s, tenant_id, source.adapter_id) for source in spec.sources)
    for adapter in adapters:
        if adapter.state is not AdapterState.ACTIVE:
            raise ConflictError(
                f"The adapter {adapter.label} is {adapter.state}.", "", "Restore it, or choose another."
            )
    if len({adapter.base_digest for adapter in adapters}) > 1:
        raise ConflictError(
            "These adapters were made for different base models.", "", "Choose adapters of one base."
        )
    if len({adapter.digest for adapter in adapters}) < len(adapters):
        raise ConflictError("Two of these adapters have the same content.", "", "Leave one of them out.")

    def found(dataset_id: str | None) -> Dataset | None:
        return None if dataset_id is None else datasets.get(s, tenant_id, dataset_id)

    return KnownGate(
        adapters,
        tuple(found(source.dataset_id) for source in spec.sources),
        found(spec.base_dataset_id),
        found(spec.labelled_dataset_id),
    )


def own_dataset(s: Session, tenant_id: str, adapter: Adapter) -> Dataset:
    """The set that an adapter was trained on, by its digest. Raises NotFoundError when it is not in the library."""
    for dataset in datasets.list_datasets(s, tenant_id):
        if adapter.dataset_digest is not None and dataset.digest == adapter.dataset_digest:
            return dataset
    raise NotFoundError(
        f"The dataset that {adapter.label} was trained on is not in the library.",
        "Its prompts teach the gate what the adapter is for.",
        f"Name a dataset for it: --adapter {adapter.name}=DATASET.",
    )


def read_data(known: KnownGate, spec: GateTrainingSpec) -> GateData:
    """Read and draw the rows; long, so no transaction may be open. Raises as `datasets.read_examples`."""
    rows: list[Labelled] = []
    for place, dataset in enumerate(known.datasets):
        if dataset is not None:
            rows += [Labelled(example, place) for example in datasets.read_examples(dataset)]
    if known.base_dataset is not None:
        rows += [Labelled(e, len(known.adapters)) for e in datasets.read_examples(known.base_dataset)]
    if known.labelled is not None:
        rows += _named_rows(known.labelled, known.adapters)
    seen = {same_prompt(row.example.prompt) for row in rows if row.example.split is not Split.TEST}
    test = [row for row in rows if row.example.split is Split.TEST]
    held_out = [row for row in test if same_prompt(row.example.prompt) not in seen]
    draw = random.Random(spec.seed)
    return GateData(
        train=_draw(_of(rows, Split.TRAIN), spec.train_rows, draw),
        validation=_draw(_of(rows, Split.VALIDATION), spec.train_rows, draw),
        test=_draw(held_out, ROUTED_ROWS, draw),
        with_base=any(row.label == len(known.adapters) for row in rows),
    )


def evaluated(data: GateData, most: int, seed: int) -> tuple[Labelled, ...]:
    """Held-out rows to answer, of each choice as many as of the others as far as there are.

    Raises InvalidInputError when there are none.
    """
    labels = {row.label for row in data.test}
    if not labels:
        raise InvalidInputError(
            "There is nothing to judge the gate on.",
            "The datasets have no test rows that the training did not see.",
            "Use datasets with a test split.",
        )
    return _draw(data.test, max(1, most // len(labels)), random.Random(seed))


def _named_rows(dataset: Dataset, adapters: Sequence[Adapter]) -> list[Labelled]:
    """Rows of a set that names the best adapter of each: a name, a name with version, an id, or «base»."""
    places = {name: i for i, a in enumerate(adapters) for name in (a.name, a.label, a.id, a.digest)}
    places[BASE_WORD] = len(adapters)
    file = datasets.dataset_path(dataset)
    said = {row.line: row.values.get(ADAPTER_COLUMN) for row in read_rows(file) if isinstance(row, Row)}
    labelled = []
    for example in datasets.read_examples(dataset):
        name = said.get(example.line)
        if not isinstance(name, str) or name not in places:
            raise InvalidInputError(
                f"Line {example.line} of «{dataset.name}» does not name one of these adapters.",
                f"Its column «{ADAPTER_COLUMN}» holds «{str(name)[:60]}».",
                f"Use {', '.join(a.name for a in adapters)} or {BASE_WORD}.",
            )
        labelled.append(Labelled(example, places[name]))
    return labelled


def _of(rows: Iterable[Labelled], split: Split) -> list[Labelled]:
    return [row for row in rows if row.example.split is split]


def _draw(rows: Sequence[Labelled], most_of_label: int, draw: random.Random) -> tuple[Labelled, ...]:
    """At most so many of each label, in the order of the files; a seeded draw where there are more."""
    kept: list[Labelled] = []
    for label in sorted({row.label for row in rows}):
        of_label = [row for row in rows if row.label == label]
        if len(of_label) > most_of_label:
            places = sorted(draw.sample(range(len(of_label)), most_of_label))
            of_label = [of_label[place] for place in places]
        kept += of_label
    return tuple(kept)
