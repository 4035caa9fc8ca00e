"""How fast the dataset doctor is, how many planted defects it finds, and how often it cries wolf.

    python benchmarks/dataset_doctor.py [--quick]

Speed: files of 100,000 rows, read and examined from the disk with nothing kept from before; wall clock and processor
time of the whole process. `records` are the demo sets with other identifiers, so that no two rows are the same;
`prose` are words without numbers, the hardest case for near duplicates.
Defects: every kind of defect is planted into copies of clean sets (the demo sets, and questions about the paragraphs
of this project's own documentation), 4 % of the rows each time; near duplicates in six ways. Recall is the share of
planted rows that the rule for their kind lists; false alarms are the clean rows that any rule with a weight lists. A
row counts as clean unless it was planted or is the twin of a planted row. Prints JSON.
"""

import argparse
import json
import os
import platform
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.datasets.doctor import Examination, examine
from core.datasets.score import WEIGHTS

ROOT = Path(__file__).resolve().parent.parent
GOALS = {"seconds_100k": 10.0, "recall": 0.95, "false_alarms": 0.02}
ROWS = 100_000
SHARE = 0.04

Row = dict[str, Any]
# (random, clean rows) -> the planted row as an object or as a raw line, and the place of its twin or -1
Planter = Callable[[random.Random, list[Row]], tuple[Row | bytes, int]]


def demo_rows(pattern: str = "*.jsonl") -> list[Row]:
    """The rows of the demo sets."""
    files = sorted((ROOT / "datasets" / "sft").glob(pattern))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def prose_rows() -> list[Row]:
    """Questions about the paragraphs of the documentation, with their first sentence as the answer."""
    texts = [file.read_text("utf-8") for file in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])]
    paragraphs = [" ".join(p.split()) for text in texts for p in text.split("\n\n")]
    sound = list(
        dict.fromkeys(p for p in paragraphs if len(p.split()) >= 12 and not p.startswith(("|", "```", "<")))
    )
    return [
        {
            "prompt": f"In one sentence, what is this about?\n\n{p[:600]}",
            "completion": re.split(r"(?<=[.:;]) ", p)[0],
        }
        for p in sound
    ]


def misspelled(rng: random.Random, text: str) -> str:
    """The text with two letters of one longer word swapped."""
    words = list(re.finditer(r"[^\W\d_]{5,}", text))
    if not words:
        return text + " please"
    word = rng.choice(words)
    pairs = [i for i in range(word.start() + 1, word.end() - 1) if text[i] != text[i + 1]]
    at = rng.choice(pairs) if pairs else word.start()
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


NEARLY: dict[str, Callable[[random.Random, str], str]] = {
    "case": lambda _, text: text.upper(),
    "white space": lambda _, text: text.replace(" ", "  ") + " \n",
    "punctuation": lambda _, text: text.rstrip(".?!") + " !",
    "a word before": lambda rng, text: (
        f"{rng.choice(['Kindly', 'Quickly', 'Now'])} {text[0].lower()}{text[1:]}"
    ),
    "a word after": lambda rng, text: f"{text} {rng.choice(['asap', 'cheers', 'friend'])}",
    "misspelled": misspelled,
}


def broken(rng: random.Random, rows: list[Row]) -> tuple[Row | bytes, int]:
    line = json.dumps(rng.choice(rows))
    return line[: rng.randrange(len(line) // 3, len(line) - 2)].encode(), -1


def changed(rng: random.Random, rows: list[Row], **changes: Any) -> tuple[Row | bytes, int]:
    row = dict(rng.choice(rows))
    for name, change in changes.items():
        row[name] = change(row[name]) if callable(change) else change
    row["prompt"] = row["prompt"] if "prompt" in changes else f"{row['prompt']} {fresh(rng)}"
    return row, -1


def fresh(rng: random.Random) -> str:
    """A number that makes a row another one."""
    return str(rng.randrange(10**11, 10**12))


def twin(
    rng: random.Random, rows: list[Row], change: Callable[[random.Random, Row], Row], split: str | None = None
) -> tuple[Row | bytes, int]:
    places = [at for at, row in enumerate(rows) if split is None or row.get("split") == split]
    at = rng.choice(places)
    return change(rng, dict(rows[at])), at


def broken_json(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text) // 2, len(text) - 1)]


def spoiled_mapping(key: str, value: Any) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), key: value})


def personal(rng: random.Random) -> str:
    name = f"{rng.choice(['jane', 'omar', 'li', 'eva'])}.{rng.choice(['doe', 'haddad', 'wen', 'berg'])}{rng.randrange(99)}"
    return rng.choice(
        [
            f"mail {name}@mail.example",
            f"call +49 17{rng.randrange(10)} {rng.randrange(10**6, 10**7)}",
            "card 4111 1111 1111 1111",
            "IBAN DE89 3704 0044 0532 0130 00",
            f"SSN 078-05-{rng.randrange(1000, 9999)}",
            f"from ip {rng.randrange(60, 220)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
            f"customer_name={rng.choice(['Jane Doe', 'Omar Haddad', 'Eva Berg'])}",
        ]
    )


NO_RMIS = ({"ts": "yesterday"}, {"clicks": "x"}, {"foo": 1})
NO_TRANSFORMS = ({"op": "guess"}, {"op": "divide"}, {"op": "to_utc", "source_tz": "Mars/Base"})
PLANTED: dict[str, tuple[str, Planter]] = {
    "parse_error": ("*", broken),
    "not_utf8": ("*", lambda *_: (b'{"prompt": "\xff\xfe", "completion": "x"}', -1)),
    "wrong_columns": ("*", lambda rng, _: ({"question": "a", "answer": fresh(rng)}, -1)),
    "wrong_type": ("*", lambda rng, rows: changed(rng, rows, completion=7)),
    "empty_prompt": ("*", lambda rng, rows: changed(rng, rows, prompt=lambda _: " \n")),
    "empty_completion": ("*", lambda rng, rows: changed(rng, rows, completion="")),
    "duplicate_rows": ("*", lambda rng, rows: twin(rng, rows, lambda _, row: row)),
    **{
        f"near_duplicates: {kind}": (
            "*",
            lambda rng, rows, change=change: twin(rng, rows, lambda r, row: {**row, "prompt": change(r, row["prompt"])}),
        )
        for kind, change in NEARLY.items()
    },
    "contradictions": (
        "*",
        lambda rng, rows: twin(rng, rows, lambda r, row: {**row, "completion": r.choice(rows)["completion"] + " "}),
    ),
    "test_leakage": ("demo", lambda rng, rows: twin(rng, rows, lambda _, row: {**row, "split": "test"}, "train")),
    "validation_leakage": (
        "demo",
        lambda rng, rows: twin(rng, rows, lambda _, row: {**row, "split": "validation"}, "train"),
    ),
    "near_test_leakage": (
        "demo",
        lambda rng, rows: twin(
            rng, rows, lambda r, row: {**row, "prompt": misspelled(r, row["prompt"]), "split": "test"}, "train"
        ),
    ),
    "copied_prompt": ("*", lambda rng, rows: changed(rng, rows, prompt=(p := f"Same {fresh(rng)}"), completion=p)),
    "output_not_json": ("records", lambda rng, rows: changed(rng, rows, completion=lambda t: broken_json(rng, t))),
    "rmis_record": (
        "records",
        lambda rng, rows: changed(
            rng,
            rows,
            completion=lambda t: json.dumps({**json.loads(t), **rng.choice(NO_RMIS)}),
        ),
    ),
    "unknown_target": ("columns", lambda rng, rows: changed(rng, rows, completion=spoiled_mapping("target", "spend_usd"))),
    "bad_transform": (
        "columns",
        lambda rng, rows: changed(
            rng, rows, completion=spoiled_mapping("transform", rng.choice(NO_TRANSFORMS)),
        ),
    ),
    "bad_qualifier": (
        "columns",
        lambda rng, rows: changed(rng, rows, completion=spoiled_mapping("qualifiers", {"touch": "hover"})),
    ),
    "tool_call": ("planning", lambda rng, rows: changed(rng, rows, completion=spoiled_mapping("arguments", "none"))),
    "personal_data": ("*", lambda rng, rows: changed(rng, rows, prompt=lambda t: f"{t} {personal(rng)}")),
    "secrets": ("*", lambda rng, rows: changed(rng, rows, prompt=lambda t: f"{t} AKIA{rng.randrange(10**15, 10**16)}")),
    "broken_text": ("*", lambda rng, rows: changed(rng, rows, prompt=lambda t: f"{t} CafÃ© {fresh(rng)}")),
    "boilerplate": ("*", lambda rng, rows: changed(rng, rows, completion="I'm sorry, but I cannot help with that.")),
    "placeholder": ("*", lambda rng, rows: changed(rng, rows, completion="Dear [Your Name], lorem ipsum")),
    "stray_space": ("*", lambda rng, rows: changed(rng, rows, completion=lambda t: f"  {t}\n")),
}  # fmt: skip


def planted(
    clean: list[Row], planter: Planter, seed: int, share: float = SHARE
) -> tuple[list[bytes], set[int], set[int]]:
    """Lines of a file with defects among them, the numbers of the planted rows, and those of their twins."""
    rng = random.Random(seed)
    count = max(5, round(share * len(clean)))
    seeded = [planter(rng, clean) for _ in range(count)]
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in clean]
    lines += [
        row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row, _ in seeded
    ]
    numbers = set(range(len(clean) + 1, len(lines) + 1))
    return lines, numbers, {at + 1 for _, at in seeded if at >= 0}


def measure(lines: list[bytes], folder: Path) -> Examination:
    path = folder / "set.jsonl"
    path.write_bytes(b"\n".join(lines))
    return examine(path)


def accuracy(folder: Path, sets: dict[str, list[Row]], seed: int) -> dict[str, Any]:
    """Recall by kind of defect, and false alarms by set."""
    recall: dict[str, list[int]] = {}
    alarms = rows = 0
    by_set: dict[str, list[int]] = {}
    for name, clean in sets.items():
        for kind, (where, planter) in PLANTED.items():
            if where not in ("*", *name.split()):
                continue
            lines, numbers, twins = planted(clean, planter, seed)
            seen = measure(lines, folder)
            rule = kind.partition(":")[0]
            # An exact repeat of a row whose question differs only in white space is listed as the exact kind.
            listed = set(seen.rows_of.get(rule, ())) | (
                set(seen.rows_of.get("duplicate_rows", ())) if ":" in kind else set()
            )
            found = recall.setdefault(kind, [0, 0])
            found[0] += len(listed & numbers)
            found[1] += len(numbers)
            told = {n for each, them in seen.rows_of.items() if WEIGHTS.get(each) for n in them}
            wrong = {n for n in told if n <= len(clean) and n not in twins}
            alarms, rows = alarms + len(wrong), rows + len(clean)
            counted = by_set.setdefault(name, [0, 0])
            counted[0] += len(wrong)
            counted[1] += len(clean)
    total = [sum(c) for c in zip(*recall.values(), strict=True)]
    return {
        "recall": round(total[0] / total[1], 4),
        "planted_rows": total[1],
        "recall_by_defect": {kind: round(a / b, 3) for kind, (a, b) in recall.items()},
        "false_alarms": round(alarms / rows, 5),
        "clean_rows": rows,
        "false_alarms_by_set": {name: round(a / b, 5) for name, (a, b) in by_set.items()},
    }


def large_file(path: Path, rows: int) -> int:
    """`rows` different rows made from the demo sets; returns its size in bytes."""
    rng, sources = random.Random(3), demo_rows()
    with path.open("w", encoding="utf-8") as out:
        for n in range(rows):
            row = sources[n % len(sources)]
            prompt = re.sub(
                r"\d{4,}", lambda m: str(rng.randrange(10 ** (len(m[0]) - 1), 10 ** len(m[0]))), row["prompt"]
            )
            out.write(json.dumps({**row, "prompt": f"{prompt} {n}"}, ensure_ascii=False) + "\n")
    return path.stat().st_size


def large_prose(path: Path, rows: int) -> int:
    """`rows` rows of words without numbers, for which near duplicates are looked for everywhere; size in bytes."""
    rng = random.Random(2)
    words = sorted({word for row in prose_rows() for word in row["prompt"].split() if word.isalpha()})
    rng.shuffle(words)
    shares = [1 / (place + 1) for place in range(len(words))]
    with path.open("w", encoding="utf-8") as out:
        for _ in range(rows):
            prompt, answer = (
                " ".join(rng.choices(words, weights=shares, k=k)) for k in (rng.randrange(20, 60), 20)
            )
            out.write(json.dumps({"prompt": prompt, "completion": answer}) + "\n")
    return path.stat().st_size


def speed(path: Path, size: int, rows: int, repeats: int) -> dict[str, Any]:
    """Seconds for a file from the disk to the finished examination."""
    walls, processor = [], []
    for _ in range(repeats):
        wall, used = time.perf_counter(), time.process_time()
        examine(path)
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - used)
    return {
        "rows": rows,
        "megabytes": round(size / 1e6, 1),
        "seconds": round(min(walls), 2),
        "seconds_median": round(statistics.median(walls), 2),
        "processor_seconds": round(min(processor), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="10,000 rows, fewer sets")
    quick = parser.parse_args().quick
    sets = {
        "demo records alpha": demo_rows("retailer_alpha.jsonl"),
        "demo records delta": demo_rows("retailer_delta.jsonl"),
        "demo columns beta": demo_rows("retailer_beta_columns.jsonl"),
        "demo columns gamma": demo_rows("retailer_gamma_columns.jsonl"),
        "demo planning": demo_rows("task_planning.jsonl"),
        "demo brand": demo_rows("brand_pomelia.jsonl"),
        "prose": prose_rows(),
    }
    if quick:
        sets = {
            name: rows for name, rows in sets.items() if name in ("demo records alpha", "demo brand", "prose")
        }
    rows, repeats = (10_000, 2) if quick else (ROWS, 3)
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.jsonl"
        result = {
            "machine": {
                "cores": os.cpu_count(),
                "load": os.getloadavg()[0],
                "python": platform.python_version(),
            },
            "records": speed(large, large_file(large, rows), rows, repeats),
            "prose": speed(large, large_prose(large, rows), rows, repeats),
            "accuracy": accuracy(Path(folder), sets, seed=11),
            "goals": GOALS,
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
