"""README.md of an adapter, in the form that model hubs read.

A manifest may come from anywhere, so nothing in its figures is taken for granted.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from core.registry.records import Manifest

SHARES = ("exact_match", "json_validity", "field_accuracy")
LOSS = "answer_loss"


def adapter_card(manifest: Manifest) -> str:
    """What it is, from what, how good, how to use it."""
    notice = "\n> Trained on simulated data.\n" if manifest.simulated else ""
    facts: Mapping[str, object] = {
        "Type": manifest.type.value,
        "Base": f"{manifest.base_name} ({manifest.base_digest})",
        "Digest": manifest.digest,
        "Rank": manifest.rank,
        "Layers": ", ".join(manifest.target_modules),
        "Parameters": f"{manifest.parameters:,}",
        "Dataset": manifest.dataset_name or "not recorded",
        "Made": f"{manifest.created_at:%Y-%m-%d %H:%M} UTC",
    }
    front = f"---\nlibrary_name: peft\nbase_model: {json.dumps(manifest.base_name)}\ntags: [lora]\n---\n"
    lines = [f"- {key}: {value}" for key, value in facts.items()]
    training = _training_words(manifest.training or {})
    lines += [f"- Training: {training}"] if training else []
    lines += _evaluation_lines(manifest.evaluation or {})
    lines += [
        "",
        "Load it with PEFT (`PeftModel.from_pretrained`) on exactly this base, or import it as it is.",
    ]
    return f"{front}\n# {manifest.name}\n{notice}\n" + "\n".join(lines) + "\n"


def _training_words(training: Mapping[str, Any]) -> str:
    words = {"steps": "{:,.0f} steps", "seconds": "{:,.0f} s", "final_loss": "final loss {:.3f}"}
    return ", ".join(
        form.format(training[key]) for key, form in words.items() if _is_number(training.get(key))
    )


def _evaluation_lines(evaluation: Mapping[str, Any]) -> list[str]:
    """A table with intervals where they are there, else the bare figures."""
    rows = [row for name, score in _scores(evaluation) for row in _score_rows(name, score)]
    if rows:
        return [
            "",
            "## Evaluation on held-out rows",
            "",
            "Shares of rows (exact match, JSON validity) or of expected fields; loss in nats per token of the expected "
            "answer; each with its 95 % interval.",
            "",
            "| rows | figure | base | adapter |",
            "|---|---|---|---|",
            *rows,
        ]
    bare = {key: value for key, value in evaluation.items() if _is_number(value)}
    if not bare:
        return []
    told = [f"- {key.replace('_', ' ')}: {round(value, 4):g}" for key, value in bare.items()]
    return ["", "## Evaluation on held-out rows", "", *told]


def _scores(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The headline first, then the other slices."""
    headline, slices = evaluation.get("headline"), evaluation.get("slices")
    name = str(evaluation.get("headline_slice") or "all test rows")
    if isinstance(headline, Mapping):
        yield name, headline
    for other, score in slices.items() if isinstance(slices, Mapping) else ():
        if other != name and isinstance(score, Mapping):
            yield str(other), score


def _score_rows(name: str, score: Mapping[str, Any]) -> Iterator[str]:
    for figure in (*SHARES, LOSS):
        base, adapter = (_interval(score.get(f"{who}_{figure}")) for who in ("base", "adapter"))
        if base and adapter:
            where = f"{name}, n={score.get('n')}".replace("|", "/").replace("\n", " ")
            yield f"| {where} | {figure.replace('_', ' ')} | {base} | {adapter} |"


def _interval(figure: Any) -> str:
    if not isinstance(figure, Mapping) or not all(
        _is_number(figure.get(k)) for k in ("value", "low", "high")
    ):
        return ""
    return f"{figure['value']:.3f} ({figure['low']:.3f}–{figure['high']:.3f})"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
