"""The shipped fine-tuning sets: raw record → RMIS, column → rule, objective → tool call, and a brand's voice.

Every set is simulated and written byte for byte the same from the same seed. Two kinds of test rows make two
different claims: `new_values` (known columns; times, identifiers and amounts that training never showed) and
`held_out_columns` (rows with source columns that training never showed).
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

from core.demo import objectives, tones
from core.demo.draws import DrawnRecord, draw_record, draw_value
from core.demo.prompts import column_answer, column_prompt, record_prompt, write_rmis
from core.demo.retailers import TEST_RETAILERS, RetailerSpec, Scalar, SourceColumn
from core.rmis.facts import FactType, fact_column
from core.rmis.vocabularies import TransformOp

SFT_SEED = 41
NOTICE = "Simulated: every retailer, brand, identifier and number is invented."

FULL_ROWS, PART_ROWS, VALIDATION_ROWS, TEST_ROWS, HELD_OUT_ROWS = 340, 100, 60, 150, 70

Row = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class DemoSet:
    """One file of rows and what its card says. `folder` is `sft` or `dpo`."""

    folder: str
    name: str
    title: str
    adapter_type: str
    description: str
    rows: tuple[Row, ...]


def write_sft_sets(out_dir: Path, seed: int = SFT_SEED) -> list[Path]:
    """Write every set with its card to `out_dir`/sft and `out_dir`/dpo; returns the written paths."""
    written: list[Path] = []
    for demo_set in demo_sets(seed):
        folder = out_dir / demo_set.folder
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in demo_set.rows)
        rows_path = folder / f"{demo_set.name}.jsonl"
        card_path = folder / f"{demo_set.name}.card.json"
        rows_path.write_bytes(lines.encode())
        card = json.dumps(card_of(demo_set, lines.encode(), seed), indent=2, ensure_ascii=False) + "\n"
        card_path.write_bytes(card.encode())
        written += [rows_path, card_path]
    return written


def demo_sets(seed: int = SFT_SEED) -> Iterable[DemoSet]:
    for spec in TEST_RETAILERS:
        yield retailer_set(spec, seed)
    for spec in TEST_RETAILERS:
        yield columns_set(spec, seed)
    yield planning_set(seed)
    yield voice_set(seed)
    yield preference_set(seed)


def card_of(demo_set: DemoSet, content: bytes, seed: int) -> dict[str, object]:
    """What a reader must know about a set; the digest is the SHA-256 of its JSONL bytes."""
    return {
        "name": demo_set.name,
        "title": demo_set.title,
        "kind": demo_set.folder,
        "adapter_type": demo_set.adapter_type,
        "description": demo_set.description,
        "simulated": True,
        "notice": NOTICE,
        "generator": "core.demo.sft.write_sft_sets",
        "seed": seed,
        "rows": len(demo_set.rows),
        "splits": dict(Counter(row["split"] for row in demo_set.rows)),
        "slices": dict(Counter(row["slice"] for row in demo_set.rows if row.get("slice"))),
        "digest": sha256(content).hexdigest(),
        "license": "Apache-2.0",
    }


def retailer_set(spec: RetailerSpec, seed: int) -> DemoSet:
    """Raw record → RMIS record of one retailer: whole records, and short ones that hold a code."""
    rng = Random(f"{seed}:{spec.slug}:records")
    seen: set[tuple[str, Scalar]] = set()
    train = [draw_record(spec, rng) for _ in range(FULL_ROWS)]
    train += [draw_record(spec, rng, _part(spec, rng), constants=False) for _ in range(PART_ROWS)]
    for drawn in train:
        seen.update(fresh_values(drawn))
    rng.shuffle(train)
    rows = [_record_row(spec, drawn, "train") for drawn in train]
    validation = _unseen_records(spec, rng, seen, VALIDATION_ROWS, held_out=False)
    test = _unseen_records(spec, rng, seen, TEST_ROWS, held_out=False)
    held_out = _unseen_records(spec, rng, seen, HELD_OUT_ROWS, held_out=True)
    rows += [_record_row(spec, drawn, "validation") for drawn in validation]
    rows += [_record_row(spec, drawn, "test", "new_values") for drawn in test]
    rows += [_record_row(spec, drawn, "test", "held_out_columns") for drawn in held_out]
    description = (
        f"Raw {spec.shape} records of the fictitious {spec.name} as RMIS records. Test rows of slice"
        " new_values have times, identifiers and amounts that no training row has; rows of"
        " held_out_columns also have source columns that no training row has."
    )
    return DemoSet(
        "sft", f"retailer_{spec.slug}", f"{spec.name}: records", "retailer", description, tuple(rows)
    )


def fresh_values(drawn: DrawnRecord) -> set[tuple[str, Scalar]]:
    """The (column, value) pairs that may not recur in a test row: times, identifiers, amounts of money."""
    types = (FactType.TIMESTAMP, FactType.IDENTIFIER, FactType.NUMBER)
    pairs = set()
    for name, value in drawn.rmis.items():
        column = fact_column(name)
        if column is not None and column.dtype in types:
            pairs.add((name, value))
    return pairs


def _unseen_records(
    spec: RetailerSpec, rng: Random, seen: set[tuple[str, Scalar]], count: int, *, held_out: bool
) -> list[DrawnRecord]:
    found: list[DrawnRecord] = []
    while len(found) < count:
        drawn = draw_record(spec, rng, _with_held_out(spec, rng) if held_out else None)
        if not fresh_values(drawn) & seen:
            found.append(drawn)
    return found


def _with_held_out(spec: RetailerSpec, rng: Random) -> list[SourceColumn]:
    """The columns of a training row plus one or two that training never showed."""
    columns = [
        column for column in spec.known_columns if column.presence >= 1 or rng.random() < column.presence
    ]
    unseen = [column for column in spec.columns if column.held_out]
    if "." in spec.columns[0].name:
        return [*columns, *unseen] if rng.random() < 0.5 else [*columns, rng.choice(unseen)]
    return [*columns, *rng.sample(unseen, rng.randint(1, len(unseen)))]


def _part(spec: RetailerSpec, rng: Random) -> list[SourceColumn]:
    """A code column (those with more codes more often) with one identifier, and at times a third column."""
    codes = [column for column in spec.known_columns if column.codes]
    weights = [len(column.codes) for column in codes]
    chosen = rng.choices(codes, weights)[0]
    ids = [column for column in spec.known_columns if column.op is TransformOp.STRING_ID]
    columns = {chosen, rng.choice(ids)}
    if rng.random() < 0.3:
        columns.add(rng.choice(spec.known_columns))
    return sorted(columns, key=spec.columns.index)


def _record_row(spec: RetailerSpec, drawn: DrawnRecord, split: str, part: str | None = None) -> Row:
    return _row(record_prompt(spec, drawn.raw), write_rmis(drawn.rmis), split, part)


def _row(prompt: str, completion: str, split: str, part: str | None = None) -> Row:
    return {"prompt": prompt, "completion": completion, "split": split, "slice": part}


def columns_set(spec: RetailerSpec, seed: int) -> DemoSet:
    """Column name and sample values → target, transform and qualifiers."""
    rng = Random(f"{seed}:{spec.slug}:columns")
    taken: set[str] = set()
    known = list(spec.known_columns)
    unseen = [column for column in spec.columns if column.held_out]
    rows: list[Row] = []
    for columns, count, split, part in (
        (known, 300, "train", None),
        (known, 50, "validation", None),
        (known, 120, "test", "new_values"),
        (unseen, 60, "test", "held_out_columns"),
    ):
        pairs = _column_pairs(spec, rng, columns, count, taken)
        rows += [_row(prompt, answer, split, part) for prompt, answer in pairs]
    description = (
        f"Columns of the fictitious {spec.name} with sample values, as RMIS mapping rules: target, transform"
        " and qualifiers. Test rows show other sample values, or columns that no training row has."
    )
    name = f"retailer_{spec.slug}_columns"
    return DemoSet("sft", name, f"{spec.name}: columns", "retailer", description, tuple(rows))


def _column_pairs(
    spec: RetailerSpec, rng: Random, columns: list[SourceColumn], count: int, taken: set[str]
) -> list[tuple[str, str]]:
    """`count` questions that are not in `taken` yet (they are added), with their answers."""
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        column = rng.choice(columns)
        drawn = [draw_value(spec, column, rng)[0] for _ in range(rng.randint(1, 3))]
        values = list(dict.fromkeys(drawn))
        prompt = column_prompt(spec, column, values)
        if prompt not in taken:
            taken.add(prompt)
            pairs.append((prompt, column_answer(spec, column, values)))
    return pairs


def planning_set(seed: int) -> DemoSet:
    """Objective in words → tool call."""
    rng = Random(f"{seed}:planning")
    rows = _distinct_rows(
        lambda: objectives.draw_planning(rng), (("train", 360), ("validation", 60), ("test", 120))
    )
    description = "Objectives of fictitious brands in words, and the tool call that answers each."
    return DemoSet(
        "sft", "task_planning", "Planning: objective to tool call", "task", description, tuple(rows)
    )


def voice_set(seed: int) -> DemoSet:
    """Requests for copy → the fictitious brand's voice."""
    rng = Random(f"{seed}:voice")
    rows = _distinct_rows(
        lambda: tones.draw_voice(rng, tones.draw_thing(rng)),
        (("train", 300), ("validation", 40), ("test", 120)),
    )
    name = f"brand_{tones.VOICE_BRAND.lower()}"
    description = f"Copy of the fictitious brand {tones.VOICE_BRAND}: calm, short, never shouts."
    return DemoSet("sft", name, f"{tones.VOICE_BRAND}: voice", "brand", description, tuple(rows))


def _distinct_rows(draw: Callable[[], tuple[str, str]], splits: tuple[tuple[str, int], ...]) -> list[Row]:
    rows: list[Row] = []
    taken: set[str] = set()
    for split, count in splits:
        found = 0
        while found < count:
            prompt, completion = draw()
            if prompt not in taken:
                taken.add(prompt)
                rows.append(_row(prompt, completion, split, "new_values" if split == "test" else None))
                found += 1
    return rows


def preference_set(seed: int) -> DemoSet:
    """Request, the brand's voice, and loud copy about the same thing."""
    rng = Random(f"{seed}:preference")
    rows: list[Row] = []
    taken: set[str] = set()
    for split, count in (("train", 300), ("validation", 40), ("test", 120)):
        found = 0
        while found < count:
            prompt, chosen, rejected = tones.draw_preference(rng, tones.draw_thing(rng))
            if prompt not in taken:
                taken.add(prompt)
                rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected, "split": split})
                found += 1
    name = f"brand_{tones.VOICE_BRAND.lower()}"
    description = f"Pairs of copy for the fictitious brand {tones.VOICE_BRAND}: its own voice, and loud copy."
    return DemoSet("dpo", name, f"{tones.VOICE_BRAND}: preferred copy", "brand", description, tuple(rows))
