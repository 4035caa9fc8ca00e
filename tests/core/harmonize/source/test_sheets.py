from pathlib import Path

import pytest

from core.errors import RefusedFileError
from core.harmonize.source.open import Source, SourceKind, SourceLimits
from tests.core.harmonize.source_files import (
    number_cell,
    opened,
    packed,
    peak_bytes,
    reset_peak,
    rows,
    sheet_row,
    text_cell,
    workbook,
)

HEADER = sheet_row(1, text_cell("A1", "day"), text_cell("B1", " id "), text_cell("C1", "clicks"))


def sheet(tmp_path: Path, body: str, limits: SourceLimits = SourceLimits(), **more: bytes) -> Source:
    members = workbook({"Report": body}) | {
        name.replace("__", "/"): content for name, content in more.items()
    }
    return opened(tmp_path, packed(members, tmp_path / "made.xlsx"), limits)


def test_a_sheet_gives_texts_and_the_numbers_of_its_rows(tmp_path: Path) -> None:
    second = sheet_row(4, number_cell("A4", 46082, 1), text_cell("B4", "007"), number_cell("C4", 0))
    third = sheet_row(6, number_cell("A6", 46083, 1), text_cell("B6", ""), number_cell("C6", "1.25"))
    source = sheet(tmp_path, HEADER + second + sheet_row(5) + third)
    assert (source.kind, source.columns) == (SourceKind.XLSX, ("day", "id", "clicks"))
    assert rows(source) == [("2026-03-01", "007", "0", 4), ("2026-03-02", None, "1.25", 6)]
    assert "«day» holds dates." in source.notes


def test_moments_and_times_are_iso_texts(tmp_path: Path) -> None:
    body = HEADER + sheet_row(
        2, number_cell("A2", "46082.5", 2), text_cell("B2", "x"), number_cell("C2", "0.25", 3)
    )
    source = sheet(tmp_path, body)
    assert rows(source) == [("2026-03-01T12:00:00", "x", "06:00:00", 2)]
    assert any("time zone" in note for note in source.notes)


def test_a_text_that_looks_like_a_date_among_others_stays(tmp_path: Path) -> None:
    body = HEADER + sheet_row(2, text_cell("A2", "2026-03-01 00:00:00")) + sheet_row(3, text_cell("A3", "x"))
    assert [row[0] for row in rows(sheet(tmp_path, body))] == ["2026-03-01 00:00:00", "x"]


def test_a_formula_is_never_evaluated_only_its_stored_value_is_read(tmp_path: Path) -> None:
    stored = '<c r="B2"><f>1+1</f><v>41</v></c>'
    link = '<c r="C2" t="str"><f>WEBSERVICE("http://127.0.0.1:9/")</f><v>kept</v></c>'
    unstored = '<c r="B3"><f>2+2</f></c>'
    body = (
        HEADER
        + sheet_row(2, text_cell("A2", "x"), stored, link)
        + sheet_row(3, text_cell("A3", "y"), unstored)
    )
    assert rows(sheet(tmp_path, body)) == [("x", "41", "kept", 2), ("y", None, None, 3)]


def test_titles_above_the_table_are_notes_and_columns_that_only_they_need_are_gone(tmp_path: Path) -> None:
    body = (
        sheet_row(1, text_cell("B1", "Campaign report"))
        + sheet_row(2, text_cell("B2", "Time zone"), text_cell("C2", "UTC"), text_cell("F2", "x"))
        + sheet_row(
            4, *[text_cell(f"{c}4", n) for c, n in zip("BCDE", ("day", "sku", "clicks", "cost"), strict=True)]
        )
        + sheet_row(5, *[text_cell(f"{c}5", v) for c, v in zip("BCDE", ("d", "s", "1", "2"), strict=True)])
    )
    source = sheet(tmp_path, body)
    assert source.columns == ("day", "sku", "clicks", "cost")
    assert rows(source) == [("d", "s", "1", "2", 5)]
    assert source.notes[:2] == (
        "Above the header, line 1: Campaign report",
        "Above the header, line 2: Time zone; UTC; x",
    )


def test_the_first_sheet_that_holds_anything_is_read_or_the_one_asked_for(tmp_path: Path) -> None:
    other = sheet_row(1, text_cell("A1", "a")) + sheet_row(2, text_cell("A2", "b"))
    content = packed(workbook({"Empty": "", "First": HEADER, "Second": other}), tmp_path / "made.xlsx")
    source = opened(tmp_path, content)
    assert source.columns == ("day", "id", "clicks")
    assert source.notes[0] == "The sheet «First» was read; the file also has «Empty», «Second»."
    assert opened(tmp_path, content, sheet="Second").columns == ("a",)
    for name, words in (("Third", "«Empty», «First», «Second»"), ("Empty", "Choose another sheet")):
        with pytest.raises(RefusedFileError) as caught:
            opened(tmp_path, content, sheet=name)
        assert words in caught.value.next_step


def shared_strings(count: str) -> dict[str, bytes]:
    members = workbook({"R": HEADER})
    place = "xl/_rels/workbook.xml.rels"
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/sharedStrings"
    more = f'<Relationship Id="rId98" Type="{kind}" Target="sharedStrings.xml"/></Relationships>'
    members[place] = members[place].replace(b"</Relationships>", more.encode())
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    text = f'<sst xmlns="{main}" count="{count}" uniqueCount="{count}"><si><t>x</t></si></sst>'
    return members | {"xl/sharedStrings.xml": text.encode()}


def test_a_count_that_lies_ends_the_reader_and_not_the_console(tmp_path: Path) -> None:
    assert opened(tmp_path, packed(shared_strings("1"), tmp_path / "made.xlsx")).columns == (
        "day",
        "id",
        "clicks",
    )
    with pytest.raises(RefusedFileError, match="not a sound XLSX file"):
        opened(tmp_path, packed(shared_strings("99999999999"), tmp_path / "made.xlsx"))


def declared(body: str) -> bytes:
    text = workbook({"R": body})["xl/worksheets/sheet1.xml"].decode()
    return text.replace("?>", '?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>', 1).encode()


FAR = sheet_row(1, text_cell("A1", "a"))
CELL = '<c r="{}"><v>1</v></c>'


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"notes.txt": b"x"}, "not an XLSX file"),
        ({"xl/workbook.xml": b"<workbook"}, "not a sound XLSX file"),
        (workbook({"R": FAR + sheet_row(1048576, CELL.format("XFD1048576"))}), "spans 1,048,576 rows"),
        (
            workbook({"R": FAR + sheet_row(1048576, "<c><v>1</v></c>") + CELL.format("ALL1")}),
            "spans 1,048,576",
        ),
        (workbook({"R": FAR + CELL.format("D999999999992")}), "names a cell that no sheet has"),
        (workbook({"R": FAR + CELL.format("xfe1")}), "names a cell that no sheet has"),
        (workbook({"R": FAR + CELL.format("A" + "0" * 70 + "9" * 12)}), "names a cell that no sheet has"),
        (workbook({"R": ""}, {"xl/worksheets/sheet1.xml": declared(HEADER)}), "form that no sheet needs"),
        (workbook({"R": ""}, {"xl/sharedStrings.xml": "<a/>".encode("utf-16")}), "form that no sheet needs"),
        (workbook({"R": HEADER}, {f"m{i}": b"" for i in range(5001)}), "more than 5,000 members"),
        (workbook({"R": ""}), "no sheet that holds anything"),
    ],
)
def test_what_is_no_honest_workbook_is_refused(tmp_path: Path, members: dict[str, bytes], words: str) -> None:
    reset_peak()
    before = peak_bytes()
    with pytest.raises(RefusedFileError) as caught:
        opened(tmp_path, packed(members, tmp_path / "made.xlsx"))
    assert words in caught.value.why
    assert peak_bytes() - before < 50 << 20


def test_a_workbook_that_unpacks_to_more_than_allowed_is_refused(tmp_path: Path) -> None:
    members = workbook({"R": HEADER}, {"xl/media/image.bin": bytes(8 << 20)})
    with pytest.raises(RefusedFileError, match="MB unpacked"):
        opened(tmp_path, packed(members, tmp_path / "made.xlsx"), SourceLimits(unpacked_bytes=4 << 20))


def test_sizes_that_lie_are_not_believed(tmp_path: Path) -> None:
    content = packed(workbook({"R": HEADER}, {"xl/media/image.bin": bytes(8 << 20)}), tmp_path / "made.xlsx")
    size = (8 << 20).to_bytes(4, "little")
    assert content.count(size) >= 1
    with pytest.raises(RefusedFileError):
        opened(
            tmp_path, content.replace(size, (10).to_bytes(4, "little")), SourceLimits(unpacked_bytes=4 << 20)
        )


def test_members_that_lead_out_are_never_written(tmp_path: Path) -> None:
    source = sheet(tmp_path, HEADER, **{"..__..__evil.txt": b"x"})
    assert source.columns == ("day", "id", "clicks")
    assert not any(path.name == "evil.txt" for path in tmp_path.parent.parent.rglob("evil.txt"))


def test_a_cut_or_changed_workbook_is_refused(tmp_path: Path) -> None:
    content = packed(workbook({"R": HEADER}), tmp_path / "made.xlsx")
    for broken in (content[:-30], content[:400] + b"\xff" * 20 + content[420:]):
        with pytest.raises(RefusedFileError):
            opened(tmp_path, broken)


def test_too_many_columns_or_rows_of_a_sheet_are_refused(tmp_path: Path) -> None:
    body = HEADER + "".join(sheet_row(i, text_cell(f"A{i}", "x")) for i in range(2, 30))
    for limits in (SourceLimits(columns=2), SourceLimits(rows=20)):
        with pytest.raises(RefusedFileError):
            sheet(tmp_path, body, limits)
