"""What the guides of mappings show is true: examples give what is written beside them, lists are complete."""

import ast
import json
import re
import runpy
import shlex
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer.main
import yaml

from app.__main__ import build_cli, main
from core.errors import InvalidInputError
from core.harmonize.apply import harmonize
from core.harmonize.mapping_files import parse_mapping
from core.harmonize.records import Mapping, Rule, SourceCard
from core.harmonize.source.open import open_source
from core.harmonize.traps.result import BOUNDS
from core.harmonize.traps.units import UNITS
from core.harmonize.values.transforms import values_of
from core.rmis.vocabularies import QUALIFIERS, TRANSFORM_PARAMETERS, TransformOp
from core.settings import PROJECT_ROOT

FILES = (PROJECT_ROOT / "docs" / "mapping-files.md").read_text("utf-8")
GUIDE = (PROJECT_ROOT / "docs" / "mappings.md").read_text("utf-8")
BENCHMARKS = (PROJECT_ROOT / "docs" / "benchmarks.md").read_text("utf-8")
CARD = SourceCard(account_timezone="America/Chicago", currency="USD")
ROW = re.compile(r"^\| `(?P<rule>\{.*\})` \| `(?P<value>[^`]*)` \| (?P<result>.+) \|$", re.MULTILINE)
BLOCK = r"```{}\n(.*?)```\n"
ROW_EXAMPLE = re.compile(
    rf"```(?P<kind>csv|json)\n(?P<given>.*?)```\n\s*{BLOCK.format('yaml')}\s*{BLOCK.format('csv')}", re.DOTALL
)


def section(name: str) -> str:
    """What stands under the heading of an operation."""
    found = re.search(rf"^### `{name}`\n(.*?)(?=^##)", FILES, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def block_after(text: str, heading: str, kind: str) -> str:
    """The first fenced block of a kind after some words."""
    _, _, rest = text.partition(heading)
    found = re.search(BLOCK.format(kind), rest, re.DOTALL)
    assert found, (heading, kind)
    return found[1]


def shown(value: Any) -> str:
    match value:
        case None:
            return "blank"
        case bool():
            return str(value).lower()
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%SZ")
        case date():
            return value.isoformat()
    return str(value)


@pytest.mark.parametrize("op", list(TransformOp))
def test_every_operation_has_its_part_with_all_parameters_and_an_example(op: TransformOp) -> None:
    text = section(op)
    assert text, f"docs/mapping-files.md says nothing of {op}"
    assert {name for name in TRANSFORM_PARAMETERS[op] if f"`{name}`" not in text} == set()
    assert ROW.search(text) or "```yaml" in text


def test_no_operation_or_qualifier_is_described_that_there_is_not() -> None:
    heads = set(re.findall(r"^### `(\w+)`$", FILES, re.MULTILINE))
    assert heads == set(TransformOp)
    words = section_of_qualifiers()
    assert {name for name in QUALIFIERS if f"`{name}`" not in words} == set()
    told = {word for allowed in QUALIFIERS.values() for word in allowed}
    assert set(re.findall(r"`(\w+)`", words)) == told | set(QUALIFIERS)


def section_of_qualifiers() -> str:
    return FILES.partition("### Qualifiers")[2].partition("### Headline")[0]


@pytest.mark.parametrize("row", list(ROW.finditer(FILES)), ids=lambda row: row["rule"][:60])
def test_a_value_becomes_what_the_guide_says(row: re.Match[str]) -> None:
    rule = Rule.model_validate({"source_field": "x", **yaml.safe_load(row["rule"])})
    made = values_of(rule, pl.DataFrame({"x": [row["value"]]}), CARD).row(0, named=True)
    if len(made) == 1:
        assert shown(*made.values()) == row["result"]
    else:
        assert ", ".join(f"{name} {shown(value)}" for name, value in made.items()) == row["result"]


@pytest.mark.parametrize(
    "example", list(ROW_EXAMPLE.finditer(FILES)), ids=lambda found: found[3].split("\n")[0]
)
def test_rows_become_the_rows_that_the_guide_shows(example: re.Match[str], tmp_path: Path) -> None:
    raw = tmp_path / f"raw.{example['kind']}"
    raw.write_text(example["given"], encoding="utf-8")
    source = open_source(raw, work_dir=tmp_path / "work")
    mapping = Mapping.model_validate({"rules": yaml.safe_load(example[3])})
    header, *_ = example[4].split("\n")
    made = harmonize(source, mapping).frame.collect().select(header.split(","))
    assert made.write_csv(datetime_format="%Y-%m-%dT%H:%M:%SZ") == example[4]


def test_every_mapping_in_the_guides_is_one() -> None:
    blocks = re.findall(BLOCK.format("yaml"), FILES + GUIDE, re.DOTALL)
    assert len(blocks) > 5
    for text in blocks:
        assert parse_mapping(text).rules


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the guide's example, in the folder where its commands run; no workspace is set up."""
    (tmp_path / "north.csv").write_text(block_after(GUIDE, "`north.csv`", "csv"), encoding="utf-8")
    (tmp_path / "card.json").write_text(block_after(GUIDE, "`card.json`", "json"), encoding="utf-8")
    (tmp_path / "north.yaml").write_text(block_after(GUIDE, "As `north.yaml`", "yaml"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RMN_HOME", str(tmp_path / "home"))
    return tmp_path


def command(words: str) -> list[str]:
    """The arguments of the guide's command that begins so."""
    line = next(line for line in commands_of(GUIDE) if line.startswith(words))
    return shlex.split(line)[3:]


def commands_of(text: str) -> list[str]:
    return re.findall(r"^(?:\$ )?(python -m app .+)$", text, re.MULTILINE)


def test_the_suggestion_of_the_example_is_the_rule_that_the_guide_shows(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("python -m app mapping suggest")) == 0
    made = {each["source_field"]: each for each in json.loads(capsys.readouterr().out)}
    told = json.loads(block_after(GUIDE, "For the column `Spend`", "json"))
    steady = ("source_field", "target", "transform", "qualifiers", "abstained")
    assert set(told) == set(made["Spend"])
    assert {name: made["Spend"][name] for name in steady} == {name: told[name] for name in steady}
    rules = yaml.safe_load((example / "north.yaml").read_text("utf-8"))["rules"]
    assert {rule["source_field"]: rule["target"] for rule in rules} == {
        n: s["target"] for n, s in made.items()
    }


def test_the_check_of_the_example_finds_what_the_guide_shows(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command("python -m app mapping check"), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    told = block_after(GUIDE, "python -m app mapping check", "text")
    totals = {
        (t["target"], t["source_field"], t["input_total"], t["output_total"], t["difference"])
        for t in made["conservation"]
    }
    lines = [tuple(re.split(r"\s{2,}", line.strip())) for line in told.splitlines()]
    assert totals <= set(lines)
    found = {(f["severity"], f["rule"], str(f["rows"])) for f in made["findings"]}
    assert found == {line[:3] for line in lines if line[0] in ("error", "warning", "note")}


def test_harmonizing_the_example_gives_the_row_and_the_files_of_the_guide(example: Path) -> None:
    assert main(command("python -m app harmonize")) == 0
    assert (example / "rows.csv").read_text("utf-8").startswith(block_after(GUIDE, "in `rows.csv`", "csv"))
    rejected = (example / "rows.rejected.csv").read_text("utf-8").splitlines()
    assert rejected[1:] == ['13,"Ad Type","placement_type","its value is not in the map","VX"']
    assert (example / "rows.broken.csv").read_text("utf-8").splitlines()[1].startswith("14,")
    assert (example / "rows.other_windows.csv").exists()
    assert not (example / "home").exists()


def test_the_refusal_of_the_guide_is_the_one_that_is_given(tmp_path: Path) -> None:
    code = re.search(r"```python\n(from core.rmis.*?)```", GUIDE, re.DOTALL)
    assert code
    example = tmp_path / "example.py"
    example.write_text(code[1], encoding="utf-8")
    with pytest.raises(InvalidInputError) as refused:
        runpy.run_path(str(example))
    told = refused.value
    assert f"{told.what}\n{told.why}\n{told.next_step}\n" == block_after(GUIDE, code[0], "text")


@pytest.mark.parametrize("guide", ["mappings.md", "mapping-files.md", "benchmarks.md", "command-line.md"])
def test_every_command_of_a_guide_is_one(guide: str) -> None:
    """The command and its options exist; nothing is run."""
    text = (PROJECT_ROOT / "docs" / guide).read_text("utf-8")
    for line in commands_of(text):
        tree: Any = typer.main.get_command(build_cli())
        words = shlex.split(line)[3:]
        while hasattr(tree, "commands"):
            name, *words = words
            assert name in tree.commands, line
            tree = tree.commands[name]
        options = {name for each in tree.params for name in each.opts if name.startswith("--")}
        assert {word for word in words if word.startswith("--")} <= options, line


FAMILY = re.compile(
    r"(?:unit|time|sum|friend|value|money|id|gtin|mapping|headline|rows|conservation|result)\.[a-z_0-9]+"
)
FILE_NAME = re.compile(r".*\.(?:csv|json|parquet)")
PUT_TOGETHER = {"unit.": UNITS, "result.": BOUNDS}


def nodes_in_code() -> Iterator[ast.AST]:
    for file in sorted((PROJECT_ROOT / "core" / "harmonize").rglob("*.py")):
        yield from ast.walk(ast.parse(file.read_text("utf-8")))


def ids_in_code() -> Iterator[str]:
    """Rule ids of findings: dotted words of the families that findings have, and those that are put together."""
    for node in nodes_in_code():
        match node:
            case ast.Constant(value=str(text)) if FAMILY.fullmatch(text) and not FILE_NAME.fullmatch(text):
                yield text
            case ast.JoinedStr(values=[ast.Constant(value=str(head)), *_]):
                yield from (f"{head}{name}" for name in PUT_TOGETHER.get(head, ()))


def first_words_of_findings() -> set[str]:
    """The family of every rule id that is written outright where a finding is made."""
    found = set()
    for node in nodes_in_code():
        match node:
            case ast.Call(func=ast.Name(id="Finding"), args=[ast.Constant(value=str(rule)), *_]):
                found.add(rule.partition(".")[0])
    return found


def test_the_table_of_findings_has_every_rule_and_no_other() -> None:
    table = GUIDE.partition("## Findings")[2].partition("## Comparing")[0]
    told = re.findall(r"`([a-z]+\.[a-z_0-9]+)`", "".join(re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)))
    assert len(told) == len(set(told))
    assert set(told) == set(ids_in_code())
    assert {name.partition(".")[0] for name in told} >= first_words_of_findings()


def test_every_benchmark_is_in_its_guide() -> None:
    scripts = {path.name for path in (PROJECT_ROOT / "benchmarks").glob("*.py")}
    assert set(re.findall(r"^### `(\w+\.py)`", BENCHMARKS, re.MULTILINE)) == scripts


def test_every_link_of_the_guides_leads_somewhere() -> None:
    for guide in sorted((PROJECT_ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", guide.read_text("utf-8")):
            assert (guide.parent / link).exists(), f"{guide.name} links to {link}"
