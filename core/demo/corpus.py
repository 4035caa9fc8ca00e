"""The generated pretraining corpus of the shipped base model: seeded, endless, free of every test retailer.

Document `i` is a function of (seed, i) alone, so that an interrupted run continues where it stopped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from random import Random

from core.demo import objectives, tones
from core.demo.draws import (
    DAYS,
    FIRST_DAY,
    draw_amount,
    draw_digits,
    draw_record,
    draw_text,
    draw_value,
    write_time,
)
from core.demo.invented import WORDS, invent_name, invent_retailer, natural_codes, opaque_codes
from core.demo.prompts import (
    Message,
    chat,
    column_answer,
    column_prompt,
    fields_answer,
    fields_prompt,
    record_prompt,
    write_raw,
    write_rmis,
)
from core.demo.retailers import RetailerSpec, Scalar, SourceColumn
from core.rmis.facts import FACT_COLUMNS
from core.rmis.vocabularies import TransformOp

CORPUS_SEED = 20_261_101
OPAQUE_RETAILERS = 96
SYSTEM = "You harmonize retail media data into RMIS."

#: Kind of document -> its share of the documents.
MIXTURE: tuple[tuple[str, int], ...] = (
    ("known_record", 18),
    ("known_part", 22),
    ("fresh_record", 12),
    ("fresh_part", 12),
    ("hinted_record", 5),
    ("code_table", 3),
    ("read", 4),
    ("column", 7),
    ("fields", 2),
    ("drill", 11),
    ("objective", 2),
    ("copywriting", 2),
)

#: The first documents are mostly short: copying and looking up come before whole records.
EARLY_DOCUMENTS = 30_000
EARLY_MIXTURE: tuple[tuple[str, int], ...] = (
    ("known_record", 6),
    ("known_part", 16),
    ("fresh_record", 6),
    ("fresh_part", 28),
    ("code_table", 4),
    ("read", 12),
    ("column", 2),
    ("drill", 24),
    ("objective", 1),
    ("copywriting", 1),
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """An endless stream of conversations; `known` are the opaque retailers that recur in it."""

    seed: int
    known: tuple[RetailerSpec, ...]

    def documents(self, start: int = 0) -> Iterator[list[Message]]:
        """Conversations number `start`, `start` + 1, … without end."""
        index = start
        while True:
            yield self.document(index)
            index += 1

    def document(self, index: int) -> list[Message]:
        rng = Random(f"{self.seed}:{index}")
        kinds, shares = zip(*(EARLY_MIXTURE if index < EARLY_DOCUMENTS else MIXTURE), strict=True)
        kind = rng.choices(kinds, shares)[0]
        prompt, answer = self._write(kind, rng)
        system = SYSTEM if rng.random() < 0.05 else ""
        return chat(prompt, answer, system)

    def _write(self, kind: str, rng: Random) -> tuple[str, str]:
        match kind:
            case "known_record":
                return _record(rng.choice(self.known), rng)
            case "known_part":
                return _part(rng.choice(self.known), rng)
            case "fresh_record":
                return _fresh_record(rng)
            case "fresh_part":
                return _part(_natural(rng), rng, hints=True)
            case "read":
                return _read(invent_retailer(rng, opaque=rng.random() < 0.5), rng)
            case "hinted_record":
                return _hinted_record(rng)
            case "code_table":
                return _code_table(rng)
            case "column":
                return _column(rng.choice(self.known) if rng.random() < 0.7 else _natural(rng), rng)
            case "fields":
                return _fields(rng.choice(self.known) if rng.random() < 0.7 else _natural(rng), rng)
            case "drill":
                return _drill(rng)
            case "objective":
                return objectives.draw_objective(rng)
        return tones.draw_copy(rng)


@lru_cache(maxsize=4)
def base_corpus(seed: int = CORPUS_SEED) -> Corpus:
    """The corpus of that seed, with its recurring opaque retailers."""
    rng = Random(f"{seed}:retailers")
    return Corpus(seed, tuple(invent_retailer(rng, opaque=True) for _ in range(OPAQUE_RETAILERS)))


def _natural(rng: Random) -> RetailerSpec:
    return invent_retailer(rng, opaque=False)


def _record(spec: RetailerSpec, rng: Random) -> tuple[str, str]:
    drawn = draw_record(spec, rng)
    return record_prompt(spec, drawn.raw), write_rmis(drawn.rmis)


def _part(spec: RetailerSpec, rng: Random, *, hints: bool = False) -> tuple[str, str]:
    """One to three columns of a record; mostly a code column is among them."""
    columns = rng.sample(spec.columns, rng.randint(1, 3))
    codes = [column for column in spec.columns if column.codes]
    if rng.random() < 0.6 and codes:
        chosen = rng.choice(codes)
        columns = [chosen, *(column for column in columns[:2] if column is not chosen)]
        columns.sort(key=spec.columns.index)
    else:
        columns.sort(key=spec.columns.index)
    drawn = draw_record(spec, rng, columns, constants=False)
    timed = any(column.op is TransformOp.TO_UTC for column in columns) and spec.time_format.startswith("%")
    hint = f"time={spec.time_format} tz={spec.timezone}" if hints and timed else ""
    return record_prompt(spec, drawn.raw, hint), write_rmis(drawn.rmis)


def _read(spec: RetailerSpec, rng: Random) -> tuple[str, str]:
    """The raw value of one column out of a few."""
    columns = sorted(
        rng.sample(spec.columns, min(len(spec.columns), rng.randint(1, 5))), key=spec.columns.index
    )
    drawn = draw_record(spec, rng, columns, constants=False)
    chosen = rng.choice(columns)
    leaf = chosen.name.split(".")[-1]
    return f"Read {leaf}: {write_raw(spec.shape, drawn.raw)}", str(drawn.raw[chosen.name])


def _fresh_record(rng: Random) -> tuple[str, str]:
    """A record of a retailer that never recurs: guessable names, and hints for what cannot be guessed."""
    spec = _natural(rng)
    hints = []
    if spec.time_format.startswith("%"):
        hints.append(f"time={spec.time_format} tz={spec.timezone}")
    if spec.constants:
        hints.append(f"currency={spec.currency}")
    drawn = draw_record(spec, rng)
    return record_prompt(spec, drawn.raw, "; ".join(hints)), write_rmis(drawn.rmis)


def _hinted_record(rng: Random) -> tuple[str, str]:
    """A record whose private words and code tables all stand in the prompt."""
    spec = invent_retailer(rng, opaque=True)
    columns = sorted(
        rng.sample(spec.columns, min(len(spec.columns), rng.randint(2, 5))), key=spec.columns.index
    )
    hints = "; ".join(f"{column.name.split('.')[-1]}: {_hint(spec, column)}" for column in columns)
    drawn = draw_record(spec, rng, columns, constants=False)
    return record_prompt(spec, drawn.raw, hints), write_rmis(drawn.rmis)


def _hint(spec: RetailerSpec, column: SourceColumn) -> str:
    match column.op:
        case TransformOp.TO_UTC:
            zoned = spec.time_format.startswith("%")
            return f"ts {spec.time_format} {spec.timezone}" if zoned else f"ts {spec.time_format}"
        case TransformOp.DIVIDE:
            return f"{column.target}/{column.by}"
        case TransformOp.ENUM_MAP:
            table = " ".join(f"{code}={word}" for code, word in column.codes)
            return f"{column.target} {table}"
    return column.target


def _code_table(rng: Random) -> tuple[str, str]:
    """A code table in the prompt, and one or all of its codes asked."""
    target = rng.choice(("placement_type", "placement_type", "event_type", "device", "cost_model"))
    codes = opaque_codes(rng, target)
    table = ", ".join(f"{code}={word}" for code, word in codes)
    code, word = rng.choice(codes)
    return f"Look up: {code}\n{table}", write_rmis({target: word})


def _column(spec: RetailerSpec, rng: Random) -> tuple[str, str]:
    column = rng.choice(spec.columns)
    values: list[Scalar] = []
    for _ in range(6):
        value = draw_value(spec, column, rng)[0]
        if value not in values and len(values) < 3:
            values.append(value)
    return column_prompt(spec, column, values), column_answer(spec, column, values)


def _fields(spec: RetailerSpec, rng: Random) -> tuple[str, str]:
    columns = sorted(rng.sample(spec.columns, min(len(spec.columns), 6)), key=spec.columns.index)
    return fields_prompt(spec, columns), fields_answer(columns)


def _drill(rng: Random) -> tuple[str, str]:
    """One small skill alone: copying, units of money, clocks."""
    match rng.randrange(7):
        case 0:
            text = draw_digits(rng, rng.randint(4, 18))
            return f"Copy: {text}", text
        case 1:
            text = rng.choice((" ", "|", ",")).join(_copied_word(rng) for _ in range(rng.randint(1, 5)))
            return f"Copy: {text}", text
        case 2:
            hundredths, by = draw_amount(rng, 9_999_999), rng.choice((100, 1_000_000))
            return f"Divide: {hundredths * (by // 100)} by {by}", f"{hundredths / 100:.2f}"
        case 3:
            day = FIRST_DAY + timedelta(days=rng.randrange(DAYS))
            return f"UTC: epoch_ms {int(day.timestamp()) * 1000}", f"{day:%Y-%m-%dT%H:%M:%SZ}"
    return _clock_drill(rng)


def _copied_word(rng: Random) -> str:
    match rng.randrange(6):
        case 0:
            return draw_digits(rng, rng.randint(1, 8))
        case 1:
            return draw_text("keyword", rng)
        case 2:
            return invent_name(rng)
        case 3:
            return rng.choice(natural_codes(rng, rng.choice(WORDS)))[0]
        case 4:
            return rng.choice(opaque_codes(rng, "placement_type"))[0]
    return rng.choice(rng.choice(FACT_COLUMNS).name.split("."))


def _clock_drill(rng: Random) -> tuple[str, str]:
    spec = _natural(rng)
    while spec.time_format == "epoch_ms":
        spec = _natural(rng)
    moment = FIRST_DAY + timedelta(days=rng.randrange(DAYS), minutes=rng.randrange(1440))
    zone = f" {spec.timezone}" if spec.time_format.startswith("%") else ""
    question = f"UTC: {write_time(spec, moment)} {spec.time_format}{zone}"
    return question, f"{moment:%Y-%m-%dT%H:%M:%SZ}"
