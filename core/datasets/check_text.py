"""Checks of what stands in the texts: length, personal data, secrets, broken signs, boilerplate, language."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from core.datasets.findings import ERROR, WARNING, Hit, Places, hit, hit_of_set
from core.datasets.languages import UNKNOWN, languages
from core.datasets.pii import find_personal_data, screen_personal_data
from core.datasets.records import Fix
from core.datasets.secrets import holds_secret, screen_secrets
from core.datasets.table import Table

_BROKEN = "\ufffd|[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]|Ã[\u0080-\u00bf]|â€[\u0080-\u2122]|Â[\u00a0-\u00bf]"
_BOILERPLATE = (
    r"(?i)\bas an ai\b|\bas a (?:large )?language model\b|\bI(?:['’]m| am) sorry,? but\b"
    r"|\bI (?:cannot|can['’]t|am unable to|['’]m unable to) (?:assist|help|provide|fulfil)\b|\bmy knowledge cutoff\b"
    r"|\bas of my last (?:update|training)\b"
)
_PLACEHOLDER = (
    r"(?i)\blorem ipsum\b|\[(?:insert|your|add|enter|placeholder)\b[^\]]{0,60}\]|<(?:insert|your|add|enter)\b[^>]{0,60}>"
    r"|\{\{ ?[a-z_. ]{1,60} ?\}\}|^\s*(?:todo|tbd|n/a|xxx+|\.\.\.|…)\s*$"
)
MOST_PADDED = 0.5
USUAL_LANGUAGE = 0.95
LEAST_ROWS_TO_JUDGE = 20


def all_text(table: Table) -> pl.Series:
    """Everything that stands in each row."""
    columns = [pl.col(name).fill_null("") for name in ("system", "history", "prompt", "answer", "rejected")]
    return table.frame.select(pl.concat_str(columns, separator="\n").alias("text"))["text"]


def too_many_characters(table: Table, most: int) -> Hit | None:
    """Examples with more than `most` characters in all."""
    columns = ("system", "history", "prompt", "answer", "rejected")
    length = pl.sum_horizontal(pl.col(name).str.len_chars().fill_null(0) for name in columns)
    return hit(
        "too_long_characters",
        WARNING,
        table.where(length > most),
        f"1 row has more than {most:,} characters: it needs much memory. Shorten or split it.",
        f"{{rows}} rows have more than {most:,} characters: they need much memory. Shorten or split them.",
        Fix.DROP_ROWS,
    )


def too_many_tokens(lengths: Sequence[int], most: int) -> Hit | None:
    """Examples with more than `most` tokens."""
    return hit(
        "too_long_tokens",
        ERROR,
        np.flatnonzero(np.asarray(lengths) > most),
        f"1 row is longer than {most:,} tokens. Shorten it, or allow longer examples in the configuration.",
        f"{{rows}} rows are longer than {most:,} tokens."
        " Shorten them, or allow longer examples in the configuration.",
        Fix.DROP_ROWS,
    )


def content(table: Table) -> Iterator[Hit]:
    """Personal data, secrets, broken text, boilerplate and placeholders, in few passes over all texts."""
    text = all_text(table)
    personal, kinds = _personal(text)
    secret = [at for at in _screened(screen_secrets(text)) if holds_secret(text[int(at)])]
    told = ", ".join(sorted(kinds))
    answer, rejected = table.frame["answer"], table.frame["rejected"].fill_null("")
    refusing = _screened(answer.str.contains(_BOILERPLATE) | rejected.str.contains(_BOILERPLATE))
    unfilled = _screened(answer.str.contains(_PLACEHOLDER))
    for rule, places, one, many, cure, fix in (
        (
            "personal_data",
            personal,
            f"seems to hold personal data ({told})",
            f"seem to hold personal data ({told})",
            "Remove it, or put made-up data in its place.",
            Fix.MASK_PERSONAL_DATA,
        ),
        (
            "secrets",
            secret,
            "seems to hold a key or a token",
            "seem to hold keys or tokens",
            "Remove and revoke what is real.",
            Fix.DROP_ROWS,
        ),
        (
            "broken_text",
            _screened(text.str.contains(_BROKEN)),
            "holds broken signs",
            "hold broken signs",
            "Export the file as UTF-8 again.",
            Fix.REPAIR_ENCODING,
        ),
        (
            "boilerplate",
            refusing,
            "answers with a refusal",
            "answer with refusals of a chat assistant",
            "Remove what is not meant.",
            Fix.DROP_ROWS,
        ),
        (
            "placeholder",
            unfilled,
            "has an answer with a blank that nobody filled in",
            "have answers with blanks that nobody filled in",
            "Fill them in or remove them.",
            Fix.DROP_ROWS,
        ),
    ):
        found = hit(rule, WARNING, places, f"1 row {one}. {cure}", f"{{rows}} rows {many}. {cure}", fix)
        if found:
            yield found


def stray_space(table: Table) -> Hit | None:
    """White space around a prompt or an answer, unless most rows have it, as some formats want."""
    padded = np.zeros(len(table), bool)
    for name in ("prompt", "answer", "rejected"):
        text = table.frame[name]
        mine = (text.str.strip_chars().ne(text) & text.str.strip_chars().ne("")).fill_null(False).to_numpy()
        padded |= mine & (mine.mean() <= MOST_PADDED if len(mine) else False)
    return hit(
        "stray_space",
        WARNING,
        np.flatnonzero(padded),
        "1 row has white space around its prompt or answer: the adapter learns it. Trim it.",
        "{rows} rows have white space around their prompts or answers: the adapter learns it. Trim them.",
        Fix.TRIM_TEXT,
    )


def language_mix(table: Table, spoken: pl.Series) -> Hit | None:
    """Answers in another language than 95 % of those whose language can be told."""
    counts = Counter(spoken.filter(spoken != UNKNOWN).to_list())
    if len(counts) < 2 or counts.total() < LEAST_ROWS_TO_JUDGE:
        return None
    usual, rows = counts.most_common(1)[0]
    if rows < USUAL_LANGUAGE * counts.total():
        return None
    others = ", ".join(f"{code} {n:,}" for code, n in counts.most_common(4)[1:])
    places = table.where((spoken != UNKNOWN) & (spoken != usual))
    message = f"{rows:,} answers are in one language ({usual}), a few in others ({others}). Check that they are meant."
    return hit_of_set("language_mix", WARNING, message, places)


def answer_languages(table: Table) -> pl.Series:
    """The language of each answer that is text; "" for records and where it cannot be told."""
    answer = table.frame["answer"]
    return languages(
        pl.DataFrame({"t": answer, "json": table.looks_like_json}).select(
            pl.when("json").then(pl.lit("")).otherwise("t").alias("t")
        )["t"]
    )


def _personal(text: pl.Series) -> tuple[list[int], set[str]]:
    kinds: set[str] = set()
    places = []
    for at in _screened(screen_personal_data(text)):
        if found := find_personal_data(text[int(at)]):
            kinds |= found
            places.append(int(at))
    return places, kinds


def _screened(chosen: pl.Series) -> Places:
    return np.flatnonzero(chosen.fill_null(False).to_numpy()).astype(np.int64)
