"""The process that opens an XLSX file: `python -m core.harmonize.source.sheet_child FILE OUT [SHEET]`.

The reader trusts counts that a file states of itself, and what it cannot allocate ends its process. So it has one
of its own, bounded in memory; the texts of the sheet go to OUT (Parquet), its names as JSON to standard output.
"""

import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

MEMORY_BYTES = 6 << 30


def main(arguments: Sequence[str]) -> int:
    """Write one sheet as texts. Exit status 0, or 1 with a reason for a file that is not sound."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import fastexcel

    path, out, asked = Path(arguments[0]), Path(arguments[1]), arguments[2:]
    try:
        told = read_sheet(path, out, asked[0] if asked else None)
    except fastexcel.FastExcelError as error:
        told = {"fault": str(error).splitlines()[0][:200]}
    sys.stdout.write(json.dumps(told))
    return 1 if "fault" in told else 0


def read_sheet(path: Path, out: Path, asked: str | None) -> dict[str, object]:
    """Write the sheet asked for, or the first that holds anything. The names of all sheets and of that one."""
    import fastexcel

    reader = fastexcel.read_excel(path)
    names = list(reader.sheet_names)
    for name in names if asked is None else [name for name in names if name == asked]:
        # Rows above the first used one are kept, so that a row's place is its number in the sheet.
        cells = reader.load_sheet(name, header_row=None, skip_rows=0, dtypes="string").to_polars()
        if cells.height and cells.width:
            cells.write_parquet(out, compression="uncompressed", statistics=False)
            return {"sheets": names, "chosen": name}
    return {"sheets": names, "chosen": None}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
