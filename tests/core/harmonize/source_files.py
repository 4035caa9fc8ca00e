"""Files that the tests of raw sources make: small sheets, and any content in a place of its own."""

import zipfile
from pathlib import Path

from core.harmonize.source.open import Source, SourceLimits, open_source

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_REL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def opened(folder: Path, content: bytes | str, limits: SourceLimits = SourceLimits(), **how: str) -> Source:
    """The content as an open source."""
    path = folder / "report.bin"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_source(path, work_dir=folder / "work", limits=limits, **how)


def rows(source: Source) -> list[tuple[object, ...]]:
    """All rows of a source, LINE last."""
    return source.frame.collect(engine="streaming").rows()


def text_cell(place: str, text: str) -> str:
    """A cell with a text of its own."""
    return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def number_cell(place: str, value: object, style: int = 0) -> str:
    """A cell with a number; style 1 shows it as a date, 2 as date and time, 3 as time."""
    return f'<c r="{place}" s="{style}"><v>{value}</v></c>'


def sheet_row(number: int, *cells: str) -> str:
    """A row of a sheet."""
    return f'<row r="{number}">{"".join(cells)}</row>'


def workbook(sheets: dict[str, str], more: dict[str, bytes] | None = None) -> dict[str, bytes]:
    """Members of an XLSX file with these sheets, given by their rows."""
    head = '<?xml version="1.0"?>'
    listed = "".join(
        f'<sheet name="{name}" sheetId="{i}" r:id="rId{i}"/>' for i, name in enumerate(sheets, 1)
    )
    related = "".join(
        f'<Relationship Id="rId{i}" Type="{_REL}/worksheet" Target="worksheets/sheet{i}.xml"/>'
        for i in range(1, len(sheets) + 1)
    )
    styles = "".join(f'<xf numFmtId="{code}"/>' for code in (0, 14, 22, 21))
    types = (
        f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="xml" ContentType="application/xml"/>'
    )
    texts = {
        "[Content_Types].xml": f"{types}</Types>",
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_REL}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_REL}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">{related}'
        f'<Relationship Id="rId99" Type="{_REL}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}"><cellXfs count="4">{styles}</cellXfs></styleSheet>',
    }
    for i, body in enumerate(sheets.values(), 1):
        texts[f"xl/worksheets/sheet{i}.xml"] = (
            f'<worksheet xmlns="{_MAIN}"><sheetData>{body}</sheetData></worksheet>'
        )
    return {name: (head + text).encode() for name, text in texts.items()} | (more or {})


def packed(members: dict[str, bytes], path: Path) -> bytes:
    """The members as a zip archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path.read_bytes()


def peak_bytes() -> int:
    """Most memory that this process has held since `reset_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def reset_peak() -> None:
    """Forget the highest memory so far."""
    Path("/proc/self/clear_refs").write_text("5")
