"""The guide of the command line lists every setting, with the value that it has if nobody sets it."""

import re
from pathlib import Path

from core.settings import Settings

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "command-line.md"


def test_every_setting_is_in_the_guide_with_its_description() -> None:
    told = dict(re.findall(r"^\| `RMN_([A-Z_]+)` \| [^|]+ \| (.+) \|$", GUIDE.read_text(), re.MULTILINE))
    assert told == {name.upper(): field.description for name, field in Settings.model_fields.items()}
