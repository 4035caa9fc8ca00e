"""Fixes: what a rule found is gone afterwards, the score is no lower, and nothing goes without being listed."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.datasets.doctor import examine
from core.datasets.fixes import as_lines, mend, repair_encoding
from core.datasets.pii import find_personal_data, mask_personal_data
from core.datasets.records import Fix
from core.errors import InvalidInputError


def row(n: int, **more: Any) -> dict[str, Any]:
    split = "test" if n % 8 == 7 else "train"
    return {
        "prompt": f"Harmonize: id={n} cost={n * 3}",
        "completion": json.dumps({"clicks": n}),
        "split": split,
    } | more


CLEAN = [row(n) for n in range(320)]
DEFECTS: dict[str, tuple[list[dict[str, Any]], Fix]] = {
    "duplicate_rows": ([CLEAN[0], CLEAN[0], CLEAN[8]], Fix.KEEP_FIRST_DUPLICATE),
    "contradictions": (
        [row(0, completion='{"clicks":99}'), row(1, completion='{"clicks":98}')],
        Fix.DROP_CONTRADICTIONS,
    ),
    "empty_completion": ([row(900, completion="  ")], Fix.DROP_ROWS),
    "stray_space": ([row(901, prompt="  Harmonize: id=901 cost=5 ")], Fix.TRIM_TEXT),
    "personal_data": ([row(902, prompt="Harmonize: id=902 mail=ann@example.org")], Fix.MASK_PERSONAL_DATA),
    "secrets": ([row(903, prompt="Harmonize: id=903 key=AKIAABCDEFGHIJKLMNOP")], Fix.DROP_ROWS),
    "broken_text": ([row(904, prompt="Harmonize: id=904 name=CrÃ¨me brÃ»lÃ©e")], Fix.REPAIR_ENCODING),
    "test_leakage": ([row(8, split="test")], Fix.MOVE_TO_TRAIN),
}


def written(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_bytes(as_lines(rows))
    return path


@pytest.mark.parametrize("rule", sorted(DEFECTS))
def test_what_a_rule_found_is_gone_after_its_fix(tmp_path: Path, rule: str) -> None:
    spoiled, fix = DEFECTS[rule]
    path = written(tmp_path, [*CLEAN, *spoiled])
    before = examine(path)
    assert rule in {problem.rule for problem in before.problems}
    done = mend(path, rule)
    assert done.fix is fix
    after = examine(written(tmp_path, list(done.rows), "after.jsonl"))
    assert rule not in {problem.rule for problem in after.problems}
    assert after.score >= before.score
    preview = done.preview
    assert preview.rows_changed + preview.rows_removed == len(done.touched) > 0
    assert len(done.rows) + preview.rows_removed == len(CLEAN) + len(spoiled)


def test_the_rows_that_a_rule_did_not_find_stay_byte_for_byte(tmp_path: Path) -> None:
    done = mend(written(tmp_path, [*CLEAN, *DEFECTS["stray_space"][0]]), "stray_space")
    assert list(done.rows[: len(CLEAN)]) == CLEAN
    assert done.touched[0].before["prompt"] == "  Harmonize: id=901 cost=5 "
    assert done.touched[0].after is not None
    assert done.touched[0].after["prompt"] == "Harmonize: id=901 cost=5"


def test_a_set_with_too_few_test_rows_is_dealt_out_anew(tmp_path: Path) -> None:
    path = written(tmp_path, [row(n, split="train") for n in range(320)])
    done = mend(path, "few_test_rows")
    assert [r["split"] for r in done.rows].count("test") == 32


@pytest.mark.parametrize("rule", ["duplicate_rows", "no_such_rule"])
def test_a_rule_that_found_nothing_has_nothing_to_mend(tmp_path: Path, rule: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be mended"):
        mend(written(tmp_path, CLEAN), rule)


def test_a_fix_that_would_leave_nothing_is_refused(tmp_path: Path) -> None:
    rows = [
        row(n, completion="I'm sorry, but as an AI language model I cannot help with that.")
        for n in range(20)
    ]
    with pytest.raises(InvalidInputError, match="no row"):
        mend(written(tmp_path, rows), "boilerplate")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to ann@example.org or bob@example.org.", "write to [e-mail] or [e-mail]."),
        ("phone: +49 170 1234567, thanks", "phone: [phone], thanks"),
        ("card 4111 1111 1111 1111 is theirs", "card [card] is theirs"),
        ("GTIN 4006381333931 stays", "GTIN 4006381333931 stays"),
        ("ssn 123-45-6789", "ssn [social security number]"),
        ("customer_name: Ann Miller, clicks: 3", "customer_name: [name], clicks: 3"),
        ("nothing here", "nothing here"),
    ],
)
def test_personal_data_is_masked_and_all_else_stays(text: str, masked: str) -> None:
    assert mask_personal_data(text) == masked
    assert not find_personal_data(masked)


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("CrÃ¨me brÃ»lÃ©e", "Crème brûlée"),
        ("MÃ¼sli â€“ frisch", "Müsli – frisch"),
        ("Å" + "Ã", "Å" + "Ã"),  # cannot be put right, so it stays
        ("schön", "schön"),
        ("a\ufffdb\x07c\td\n", "abc\td\n"),
    ],
)
def test_text_read_in_the_wrong_encoding_is_put_right(broken: str, whole: str) -> None:
    assert repair_encoding(broken) == whole
