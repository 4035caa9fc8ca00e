"""JSONL and JSON documents: rows of one form at once and rows on their own must be the same rows."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import core.harmonize.source.document as source_document
import core.harmonize.source.json as source_json
from core.errors import RefusedFileError
from core.harmonize.source.json_forms import form_of
from core.harmonize.source.open import LINE, Source, SourceKind, SourceLimits
from tests.core.harmonize.source_files import opened, rows


def told(source: Source) -> tuple[Any, ...]:
    columns = sorted(source.columns)
    frame = source.frame.select(*columns, LINE).collect()
    return columns, frame.rows(), [(row.line, row.reason) for row in source.broken], source.broken_count


def test_every_digit_of_every_number_stays(tmp_path: Path) -> None:
    lines = [f'{{"id": {123456789012345678 + i}, "big": 9{i:024d}, "cost": {i}.10}}' for i in range(200)]
    source = opened(tmp_path, "\n".join(lines))
    assert source.columns == ("id", "big", "cost")
    assert rows(source)[199] == ("123456789012345877", "9000000000000000000000199", "199.10", 200)


def test_columns_that_come_late_are_null_before(tmp_path: Path) -> None:
    lines = [json.dumps({"a": i}) for i in range(100)] + [
        json.dumps({"b": {"c": i}, "a": i}) for i in range(100)
    ]
    source = opened(tmp_path, "\n".join(lines))
    assert source.columns == ("a", "b.c")
    assert rows(source)[99:101] == [("99", None, 100), ("0", "0", 101)]


def test_lines_keep_their_order_and_number_whatever_their_form(tmp_path: Path) -> None:
    kinds = [
        '{{"a": {0}}}',
        '{{"b": "{0}", "a": 1}}',
        '{{"a": "\\u00e9{0}"}}',
        '{{"a": [{0}]}}',
        "broken {0}",
        "",
    ]
    lines = [kinds[i % 6].format(i) for i in range(600)]
    source = opened(tmp_path, "\r\n".join(lines))
    assert [row[-1] for row in rows(source)] == [i + 1 for i in range(600) if i % 6 < 4]
    assert [row.line for row in source.broken] == [i + 1 for i in range(600) if i % 6 == 4]
    assert rows(source)[2][0] == "é2"
    assert rows(source)[3][0] == "[3]"


def test_escapes_are_read_at_full_speed_too(tmp_path: Path) -> None:
    values = ['a"b', "\\", '\\"', "a/b", "x\ny\t\b\f\r", '"', "\\\\n", "\\/"]
    lines = [json.dumps({"a": value, "l": [value]}).replace("/", "\\/") for value in values] * 20
    source = opened(tmp_path, "\n".join(lines))
    assert [row[0] for row in rows(source)][:8] == values
    assert [json.loads(str(row[1])) for row in rows(source)][:8] == [[value] for value in values]


def test_an_object_with_more_columns_than_allowed_breaks_alone(tmp_path: Path) -> None:
    wide = json.dumps({f"k{i}": i for i in range(30)})
    source = opened(tmp_path, f'{{"a": 1}}\n{wide}\n{{"b": 2}}\n', SourceLimits(columns=20))
    assert source.columns == ("a", "b")
    assert source.broken[0].line == 2
    assert "more than 20 columns" in source.broken[0].reason


def test_ids_as_keys_do_not_make_endless_columns(tmp_path: Path) -> None:
    lines = [json.dumps({f"id{i}": 1}) for i in range(5000)]
    source = opened(tmp_path, "\n".join(lines), SourceLimits(columns=100))
    assert (len(source.columns), source.rows, source.broken_count) == (100, 100, 4900)


def test_many_values_are_taken_by_several_expressions(tmp_path: Path) -> None:
    record = {f"k{i}": i if i % 2 else f"t{i}" for i in range(100)}
    source = opened(tmp_path, "\n".join([json.dumps(record)] * 80))
    assert source.columns == tuple(record)
    assert rows(source)[79] == (*[str(value) for value in record.values()], 80)


def test_a_form_takes_only_lines_that_are_sound() -> None:
    form = form_of('{"a": 1, "b": {"c": "x"}, "l": [1]}', SourceLimits())
    assert form is not None
    lines = [
        '{"a": 2.50, "b": {"c": null}, "l": [{"x": "]"}, []]}',
        '{"a":"","b":{"c":true},"l":[{"x": "]"}, "y", {}]}',
        '{"a": 01, "b": {"c": 1}, "l": []}',
        '{"a": 1, "b": {"c": 1}, "l": [1,]}',
        '{"b": {"c": 1}, "a": 1, "l": []}',
        '{"a": 1, "b": {"c": 1}, "l": null} ',
        '{"a": 1, "b": {"c": "\\u00e9"}, "l": []}',
        '{"a": NaN, "b": {"c": 1}, "l": []}',
    ]
    taken, found = form.take(pl.Series(lines))
    assert found.to_list() == [False, True, False, False, False, True, False, False]
    assert taken.row(1) == (None, "true", '[{"x": "]"}, "y", {}]')
    assert taken.row(5) == ("1", "1", None)


def test_objects_without_values_or_with_odd_keys_have_no_form() -> None:
    for text in ("{}", '{"a": {}}', '{"k\\"": 1}', "no"):
        assert form_of(text, SourceLimits()) is None


def test_a_list_of_objects_is_a_table_with_the_line_of_each(tmp_path: Path) -> None:
    source = opened(tmp_path, '[\n  {"a": 1.10,\n   "b": {"c": "x\\"]"}},\n  {"a": 2}\n]\n')
    assert source.kind is SourceKind.JSON
    assert rows(source) == [("1.10", 'x"]', 2), ("2", None, 4)]


def test_objects_on_one_line_are_numbered(tmp_path: Path) -> None:
    source = opened(tmp_path, '[{"a": 1}, {"a": 2}, {"a": }, {"a": 4}]')
    assert rows(source) == [("1", 1), ("2", 2), ("4", 4)]
    assert [row.line for row in source.broken] == [3]


def test_an_envelope_gives_its_rows_and_says_what_lies_beside(tmp_path: Path) -> None:
    content = {"status": "ok", "currency": "USD", "response": {"data": [{"a": 1}, {"a": 2}], "next": None}}
    source = opened(tmp_path, json.dumps(content))
    assert [row[0] for row in rows(source)] == ["1", "2"]
    assert source.notes[0] == "The rows are the list «response.data»."
    assert "Beside the rows: currency: USD" in source.notes


def test_an_object_with_a_list_of_its_own_is_one_row(tmp_path: Path) -> None:
    source = opened(tmp_path, '{"campaign": "x", "products": [{"a": 1}, {"a": 2}]}')
    assert rows(source) == [("x", '[{"a": 1}, {"a": 2}]', 1)]


def test_a_document_that_is_cut_off_keeps_what_is_whole(tmp_path: Path) -> None:
    for cut in ('[{"a": 1}, {"a": 2}, {"a":', '{"data": [{"a": 1}, {"a": 2}, {"a":'):
        source = opened(tmp_path, cut)
        assert [row[0] for row in rows(source)] == ["1", "2"]
        assert source.broken[0].reason == "the file ends in the middle of the list"


def test_text_after_the_list_is_not_lost(tmp_path: Path) -> None:
    source = opened(tmp_path, '[{"a": 1}]\n[{"a": 2}]')
    assert source.rows == 1
    assert (source.broken[0].line, source.broken[0].raw) == (2, '[{"a": 2}]')


def test_lines_whose_first_is_far_too_long_are_still_lines(tmp_path: Path) -> None:
    long = json.dumps({"a": "x" * 400_000})
    source = opened(tmp_path, f'{long}\n{{"a": 1}}\n', SourceLimits(line_bytes=1 << 16))
    assert (source.kind, rows(source)) == (SourceKind.JSONL, [("1", 2)])
    assert source.broken[0].line == 1


SCALARS = [
    '""',
    '"a"',
    '"x\\"y"',
    '"\\\\"',
    '"\\u00e9"',
    '"\\ud800"',
    '"null"',
    "1",
    "1.10",
    "1e5",
    "01",
    "null",
]
ODD = [
    "NaN",
    "[]",
    "[1, 2.50]",
    '[{"a":"x]"},{}]',
    "[[1]]",
    '{"q":1}',
    "{}",
    '{"q":{"r":"t"}}',
    '"\t"',
    '"}"',
    "[,]",
]
KEYS = st.lists(
    st.sampled_from(["a", "b", "c d", "e.f", "é", "__line", 'k\\"q']), min_size=1, max_size=4, unique=True
)
OBJECTS = st.lists(
    st.tuples(
        KEYS, st.lists(st.sampled_from(SCALARS + ODD), min_size=4, max_size=4), st.sampled_from(["", " "])
    ),
    min_size=1,
    max_size=12,
).map(
    lambda drawn: [
        "{"
        + ("," + blank).join(f'"{key}"{blank}:{value}' for key, value in zip(keys, values, strict=False))
        + "}"
        for keys, values, blank in drawn
    ]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(objects=OBJECTS, repeat=st.integers(1, 3), document=st.booleans(), cut=st.booleans())
def test_forms_and_single_rows_agree_on_any_objects(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    objects: list[str],
    repeat: int,
    document: bool,
    cut: bool,
) -> None:
    objects = objects * repeat
    text = "[" + ",\n".join(objects) + "]" if document else "\n".join(objects)
    content = text[: -len(text) // 3] if cut and len(text) > 9 else text
    found = []
    for few, window in ((1, 1 << 20), (10**9, 1 << 20), (3, 7)):
        monkeypatch.setattr(source_json, "_FEW", few)
        monkeypatch.setattr(source_document, "_WINDOW", window)
        try:
            found.append(told(opened(tmp_path, content)))
        except RefusedFileError as error:
            found.append((str(error),))
    assert found[0] == found[1] == found[2]
