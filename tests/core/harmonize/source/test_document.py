from pathlib import Path

import pytest

import core.harmonize.source.document as source_document
from core.harmonize.source.document import find_rows, objects_of, opened
from core.harmonize.source.records import SourceLimits


def read(
    tmp_path: Path, text: str, limits: SourceLimits = SourceLimits()
) -> tuple[list[str], list[int], list[str]]:
    path = tmp_path / "document.json"
    path.write_text(text)
    objects: list[str] = []
    lines: list[int] = []
    broken: list[str] = []
    with opened(path) as mapped:
        found = find_rows(mapped)
        assert not found.goes_on
        for some, numbers, endings in objects_of(mapped, found, limits):
            objects += [raw.decode() for raw in some]
            lines += numbers
            broken += [f"{line}: {reason}" for line, reason, _ in endings]
    return objects, lines, broken


@pytest.mark.parametrize("window", [1, 2, 5, 1 << 20])
@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("[]", []),
        (" [ ] ", []),
        ('[{"a": 1}]', ['{"a": 1}']),
        ('[{"a": "]}\\\\"}, {"b": "\\"],["}]', ['{"a": "]}\\\\"}', '{"b": "\\"],["}']),
        ('[{"a": [1, {"b": 2}]},\n 3, "x", [4, 5]]', ['{"a": [1, {"b": 2}]}', "3", '"x"', "[4, 5]"]),
        ('{"data": []}', []),
        ('{"rows": [{"a": 1}], "n": 1}', ['{"a": 1}']),
        ('{"n": "]", "report": {"m": {}, "items": [{"a": 1}, {"a": 2}]}}', ['{"a": 1}', '{"a": 2}']),
        ('{"Data": [{"a": 1}]}', ['{"a": 1}']),
        ('{"anything": [{"a": 1}]}', ['{"a": 1}']),
        ('{"id": 5, "anything": [{"a": 1}]}', ['{"id": 5, "anything": [{"a": 1}]}']),
        ('{"data": [1, 2]}', ['{"data": [1, 2]}']),
        ('{"data": {"a": 1}}', ['{"data": {"a": 1}}']),
        ('{"results": [{"a": 1}], "data": [{"b": 1}, {"b": 2}]}', ['{"b": 1}', '{"b": 2}']),
        ("{}", ["{}"]),
    ],
)
def test_the_objects_of_a_document_are_found_by_its_brackets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int, text: str, objects: list[str]
) -> None:
    monkeypatch.setattr(source_document, "_WINDOW", window)
    assert read(tmp_path, text)[0] == objects
    assert read(tmp_path, text)[2] == []


def test_each_object_knows_its_line(tmp_path: Path) -> None:
    objects, lines, _ = read(tmp_path, '\n[\n{"a":\n1},\n\n{"a": 2}, {"a": 3}\n]')
    assert lines == [3, 6, 6]
    assert objects[0] == '{"a":\t1}'


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ('[{"a": 1}, {"a"', "1: the file ends in the middle of the list"),
        ('[{"a": 1}', "1: the file ends in the middle of the list"),
        ('[{"a": 1}]\n\nx', "3: there is text after the end of the list"),
        ('{"data": [{"a": 1},\n{"a', "2: the file ends in the middle of the list"),
    ],
)
def test_what_is_wrong_with_the_end_is_told(tmp_path: Path, text: str, ending: str) -> None:
    assert read(tmp_path, text)[2] == [ending]


def test_an_object_may_not_be_longer_than_allowed(tmp_path: Path) -> None:
    limits = SourceLimits(line_bytes=100)
    long = '{"a": "' + "x" * 100 + '"}'
    objects, lines, broken = read(tmp_path, f'[{{"a": 1}},\n{long},\n{{"a": 3}}]', limits)
    assert (objects, lines) == (['{"a": 1}', '{"a": 3}'], [1, 3])
    assert broken == ["2: the object is longer than 100 bytes"]
    assert read(tmp_path, '{"a": "' + "x" * 1700 + '"}', limits)[2] == [
        "1: the object is longer than 1,600 bytes"
    ]


def test_text_after_the_first_object_makes_it_no_document(tmp_path: Path) -> None:
    path = tmp_path / "lines.json"
    path.write_text('{"a": 1}\n{"a": 2}')
    with opened(path) as mapped:
        assert find_rows(mapped).goes_on
