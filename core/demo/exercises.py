"""The exercises of the corpus: one question with its answer, each kind a small function of a random generator.

`known` are the retailers that recur in the corpus; all others appear once.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from random import Random
from types import MappingProxyType

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

Known = Sequence[RetailerSpec]
Answered = tuple[str, str]


def _known_record(known: Known, rng: Random) -> Answered:
    return _record(rng.choice(known), rng)


def _known_part(known: Known, rng: Random) -> Answered:
    return _part(rng.choice(known), rng)


def _fresh_part(_: Known, rng: Random) -> Answered:
    return _part(_natural(rng), rng, hints=True)


def _fresh_code(_: Known, rng: Random) -> Answered:
    spec = _natural(rng)
    return _part(spec, rng, only=[column for column in spec.columns if column.codes])


def _any_read(_: Known, rng: Random) -> Answered:
    return _read(invent_retailer(rng, opaque=rng.random() < 0.5), rng)


def _word_read(_: Known, rng: Random) -> Answered:
    spec = invent_retailer(rng, opaque=rng.random() < 0.5)
    return _read(spec, rng, only=[column for column in spec.columns if column.codes])


def _known_or_natural(known: Known, rng: Random) -> RetailerSpec:
    return rng.choice(known) if rng.random() < 0.7 else _natural(rng)


def _mapped_column(known: Known, rng: Random) -> Answered:
    return _column(_known_or_natural(known, rng), rng)


def _mapped_fields(known: Known, rng: Random) -> Answered:
    return _fields(_known_or_natural(known, rng), rng)


def _natural(rng: Random) -> RetailerSpec:
    return invent_retailer(rng, opaque=False)


def _record(spec: RetailerSpec, rng: Random) -> Answered:
    drawn = draw_record(spec, rng)
    return record_prompt(spec, drawn.raw), write_rmis(drawn.rmis)


def _part(
    spec: RetailerSpec, rng: Random, *, hints: bool = False, only: Sequence[SourceColumn] = ()
) -> Answered:
    """One to three columns of a record, mostly with a code column; with `only`, one to three of those."""
    available = only or spec.columns
    columns = rng.sample(available, min(len(available), rng.randint(1, 3)))
    codes = [column for column in spec.columns if column.codes]
    if not only and codes and rng.random() < 0.6:
        chosen = rng.choice(codes)
        columns = [chosen, *(column for column in columns[:2] if column is not chosen)]
    columns.sort(key=spec.columns.index)
    drawn = draw_record(spec, rng, columns, constants=False)
    timed = any(column.op is TransformOp.TO_UTC for column in columns) and spec.time_format.startswith("%")
    hint = f"time={spec.time_format} tz={spec.timezone}" if hints and timed else ""
    return record_prompt(spec, drawn.raw, hint), write_rmis(drawn.rmis)


def _read(spec: RetailerSpec, rng: Random, only: Sequence[SourceColumn] = ()) -> Answered:
    """The raw value of one column out of a few."""
    available = only or spec.columns
    columns = sorted(rng.sample(available, min(len(available), rng.randint(1, 5))), key=spec.columns.index)
    drawn = draw_record(spec, rng, columns, constants=False)
    chosen = rng.choice(columns)
    leaf = chosen.name.split(".")[-1]
    return f"Read {leaf}: {write_raw(spec.shape, drawn.raw)}", str(drawn.raw[chosen.name])


def _word_copy(rng: Random) -> Answered:
    words = [_copied_word(rng, numbers=False) for _ in range(rng.randint(1, 3))]
    text = rng.choice((" ", "|", ",")).join(words)
    return f"Copy: {text}", text


def _fresh_record(rng: Random) -> Answered:
    """A record of a retailer that never recurs: guessable names, and hints for what cannot be guessed."""
    spec = _natural(rng)
    hints = []
    if spec.time_format.startswith("%"):
        hints.append(f"time={spec.time_format} tz={spec.timezone}")
    if spec.constants:
        hints.append(f"currency={spec.currency}")
    drawn = draw_record(spec, rng)
    return record_prompt(spec, drawn.raw, "; ".join(hints)), write_rmis(drawn.rmis)


def _hinted_record(rng: Random) -> Answered:
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


def _code_table(rng: Random) -> Answered:
    """A code table in the prompt, and one or all of its codes asked."""
    target = rng.choice(("placement_type", "placement_type", "event_type", "device", "cost_model"))
    codes = opaque_codes(rng, target)
    table = ", ".join(f"{code}={word}" for code, word in codes)
    code, word = rng.choice(codes)
    return f"Look up: {code}\n{table}", write_rmis({target: word})


def _column(spec: RetailerSpec, rng: Random) -> Answered:
    column = rng.choice(spec.columns)
    values: list[Scalar] = []
    for _ in range(6):
        value = draw_value(spec, column, rng)[0]
        if value not in values and len(values) < 3:
            values.append(value)
    return column_prompt(spec, column, values), column_answer(spec, column, values)


def _fields(spec: RetailerSpec, rng: Random) -> Answered:
    columns = sorted(rng.sample(spec.columns, min(len(spec.columns), 6)), key=spec.columns.index)
    return fields_prompt(spec, columns), fields_answer(columns)


def _drill(rng: Random) -> Answered:
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


def _copied_word(rng: Random, *, numbers: bool = True) -> str:
    match rng.randrange(6 if numbers else 5):
        case 5:
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


def _clock_drill(rng: Random) -> Answered:
    spec = _natural(rng)
    while spec.time_format == "epoch_ms":
        spec = _natural(rng)
    moment = FIRST_DAY + timedelta(days=rng.randrange(DAYS), minutes=rng.randrange(1440))
    zone = f" {spec.timezone}" if spec.time_format.startswith("%") else ""
    question = f"UTC: {write_time(spec, moment)} {spec.time_format}{zone}"
    return question, f"{moment:%Y-%m-%dT%H:%M:%SZ}"


#: Kind of exercise -> the function that writes one.
EXERCISES: Mapping[str, Callable[[Known, Random], Answered]] = MappingProxyType(
    {
        "known_record": _known_record,
        "known_part": _known_part,
        "fresh_record": lambda _, rng: _fresh_record(rng),
        "fresh_part": _fresh_part,
        "fresh_code": _fresh_code,
        "hinted_record": lambda _, rng: _hinted_record(rng),
        "code_table": lambda _, rng: _code_table(rng),
        "read": _any_read,
        "word_read": _word_read,
        "word_copy": lambda _, rng: _word_copy(rng),
        "column": _mapped_column,
        "fields": _mapped_fields,
        "drill": lambda _, rng: _drill(rng),
        "objective": lambda _, rng: objectives.draw_objective(rng),
        "copywriting": lambda _, rng: tones.draw_copy(rng),
    }
)
