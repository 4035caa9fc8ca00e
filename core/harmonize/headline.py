"""Which of several outcome numbers fills an outcome column, and which are kept apart.

A report may carry one number under several windows or splits. They are never added and never share a column. Where
the source card names no headline, the order is: the total before its splits, then the longest click window that
every outcome target has, then the longest at all, then both kinds of touch before one, then the order of the rules.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.errors import InvalidInputError
from core.harmonize.records import Headline, Qualifier, Rule, SourceCard, checked_qualifiers
from core.harmonize.records import Mapping as RuleMapping
from core.rmis.facts import FactGroup, FactType, fact_column
from core.rmis.vocabularies import QUALIFIERS, TransformOp

_WINDOW = re.compile(r"(\d{1,3})[\s_-]*d(?:ays?)?\b|(\d{1,3})[\s_-]*d(?=_)", re.IGNORECASE)
_MEASURE_GROUPS = frozenset({FactGroup.DELIVERY, FactGroup.MONEY, FactGroup.OUTCOME})

#: The total comes before its splits; what is not said may be the total.
_SCOPES: tuple[Qualifier, ...] = ("total", "all_goals", None, "brand", "related", "same_sku", "other_sku")
_CHANNELS: tuple[Qualifier, ...] = ("total", None, "online", "store", "pickup", "delivery")
_TOUCHES: tuple[Qualifier, ...] = ("click_or_view", "unspecified", None, "click", "view")


@dataclass(frozen=True)
class HeadlinePlan:
    """`headline`: target → the rule that fills it. `qualifiers`: what all of these have in common.

    `conflicts` are sentences about what was chosen without being told, or could not be brought together.
    """

    headline: dict[str, Rule]
    apart: tuple[Rule, ...]
    qualifiers: dict[str, Qualifier]
    conflicts: tuple[str, ...]


def split_headline(mapping: RuleMapping, card: SourceCard | None = None) -> HeadlinePlan:
    """Choose the headline of a mapping. Raises InvalidInputError for a headline that is none."""
    wanted = card.headline if card is not None and card.headline is not None else mapping.headline
    return choose_headline(mapping.rules, wanted)


def choose_headline(rules: Iterable[Rule], wanted: Headline) -> HeadlinePlan:
    """The same for rules and a headline as they stand."""
    candidates = _candidates(rules)
    fields = {rule.source_field for several in candidates.values() for rule in several}
    stated, columns = (
        ({}, (wanted,)) if isinstance(wanted, str) and wanted in fields else read_headline(wanted)
    )
    common = _longest_common_window(candidates)
    chosen: dict[str, Rule] = {}
    conflicts: list[str] = []
    for target, several in candidates.items():
        fitting = [rule for rule in several if _fits(rule, stated, columns)]
        ranked = sorted(fitting or several, key=lambda rule: _rank(rule, common))
        chosen[target] = ranked[0]
        if wanted and not fitting and (len(several) > 1 or stated):
            conflicts.append(_not_found(target, wanted, ranked[0]))
        elif len(fitting) > 1:
            conflicts.append(_chosen_untold(target, ranked))
    apart = tuple(
        rule for target, several in candidates.items() for rule in several if rule is not chosen[target]
    )
    qualifiers, mixed = _common_qualifiers(chosen, stated)
    return HeadlinePlan(chosen, apart, qualifiers, (*conflicts, *mixed))


def read_headline(wanted: Headline) -> tuple[dict[str, Qualifier], tuple[str, ...]]:
    """(qualifiers, source columns) that a headline names; a text is a window such as 14d or 14d_click."""
    if not wanted:
        return {}, ()
    if isinstance(wanted, Mapping):
        try:
            return {
                name: value for name, value in checked_qualifiers(wanted).items() if value is not None
            }, ()
        except ValueError as error:
            raise _no_headline(str(error)) from None
    if isinstance(wanted, str):
        return (_window_of(wanted), ()) if _WINDOW.search(wanted) else ({}, (wanted,))
    return {}, tuple(wanted)


def is_measure(target: str) -> bool:
    """Whether a column holds amounts that add up over rows."""
    column = fact_column(target)
    return (
        column is not None
        and column.group in _MEASURE_GROUPS
        and column.dtype in (FactType.INTEGER, FactType.NUMBER)
    )


def _candidates(rules: Iterable[Rule]) -> dict[str, list[Rule]]:
    """Outcome targets, and other measures that carry qualifiers, with the rules that give them."""
    found: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        if rule.target is None or rule.dropped or not is_measure(rule.target):
            continue
        if rule.transform.op is TransformOp.EXPLODE and rule.transform.const is not None:
            continue  # each such rule fills a row of its own
        found[rule.target].append(rule)
    return {target: several for target, several in found.items() if _is_outcome(target, several)}


def _is_outcome(target: str, rules: Sequence[Rule]) -> bool:
    column = fact_column(target)
    outcome = column is not None and column.group is FactGroup.OUTCOME
    return outcome or len({tuple(sorted(map(str, _said(rule).items()))) for rule in rules}) > 1


def _said(rule: Rule) -> dict[str, Qualifier]:
    return {name: value for name, value in rule.qualifiers.items() if value is not None}


def _fits(rule: Rule, stated: dict[str, Qualifier], columns: tuple[str, ...]) -> bool:
    if columns:
        return rule.source_field in columns
    said = _said(rule)
    return all(name not in said or said[name] == value for name, value in _for(rule, stated).items())


def _for(rule: Rule, stated: dict[str, Qualifier]) -> dict[str, Qualifier]:
    """New-to-brand columns are new to brand whatever the headline says of the others."""
    if (rule.target or "").startswith("ntb_"):
        return {name: value for name, value in stated.items() if name != "new_to_brand"}
    return stated


def _rank(rule: Rule, common: int | None) -> tuple[int, ...]:
    said = _said(rule)
    click = said.get("window_click_days")
    days = click if isinstance(click, int) and not isinstance(click, bool) else -1
    ntb = (rule.target or "").startswith("ntb_")
    return (
        _SCOPES.index(said.get("sku_scope")),
        _CHANNELS.index(said.get("sales_channel")),
        int(bool(said.get("new_to_brand")) and not ntb),
        int(common is not None and days != common),
        -days,
        _TOUCHES.index(said.get("touch")),
        ["interaction", None, "order"].index(said.get("date_basis")),  # type: ignore[arg-type]
    )


def _longest_common_window(candidates: dict[str, list[Rule]]) -> int | None:
    """The longest click window that every target with several candidates has."""
    windows = [
        {rule.qualifiers.get("window_click_days") for rule in several} - {None}
        for several in candidates.values()
        if len(several) > 1
    ]
    shared = set.intersection(*windows) if windows else set()
    return max((int(days) for days in shared if days is not None), default=None)


def _common_qualifiers(
    chosen: dict[str, Rule], stated: dict[str, Qualifier]
) -> tuple[dict[str, Qualifier], list[str]]:
    """Qualifiers on which all headline rules agree; for one on which they do not, a sentence."""
    common: dict[str, Qualifier] = {}
    mixed: list[str] = []
    for name in QUALIFIERS:
        said: Counter[Qualifier] = Counter()
        for target, rule in chosen.items():
            if name in _said(rule) and not (name == "new_to_brand" and target.startswith("ntb_")):
                said[rule.qualifiers[name]] += 1
        if len(said) > 1:
            values = ", ".join(f"{_word(value)} ({count})" for value, count in said.most_common())
            mixed.append(
                f"The outcome columns do not share one {name}: {values}. The column {name} stays blank, and"
                " numbers of different columns may not be compared."
            )
        elif said:
            common[name] = next(iter(said))
        elif name in stated and chosen:
            common[name] = stated[name]
    return common, mixed


def _window_of(text: str) -> dict[str, Qualifier]:
    """14d, 14d_click, 7d_view, 14d_click_1d_view."""
    words = text.lower()
    windows = [(match.end(), int(match[1] or match[2])) for match in _WINDOW.finditer(words)]
    parts = [
        words[end : windows[i + 1][0] if i + 1 < len(windows) else None] for i, (end, _) in enumerate(windows)
    ]
    stated: dict[str, Qualifier] = {}
    for (_, days), rest in zip(windows, parts, strict=True):
        view = "view" in rest and "click" not in rest
        stated["window_view_days" if view else "window_click_days"] = days
    if "click" in words and "view" in words:
        stated["touch"] = "click_or_view"
    elif "click" in words or "view" in words:
        stated["touch"] = "click" if "click" in words else "view"
    return stated


def describe(rule: Rule) -> str:
    """A rule's qualifiers in words."""
    said = _said(rule)
    told = ", ".join(f"{name} {_word(value)}" for name, value in said.items())
    return f"«{rule.source_field}» ({told or 'no qualifiers'})"


def _word(value: Qualifier) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _not_found(target: str, wanted: Headline, rule: Rule) -> str:
    shown = (
        ", ".join(f"{k} {_word(v)}" for k, v in wanted.items()) if isinstance(wanted, dict) else str(wanted)
    )
    return f"No source column of {target} fits the headline ({shown[:200]}); {describe(rule)} was taken."


def _chosen_untold(target: str, ranked: Sequence[Rule]) -> str:
    others = ", ".join(f"«{rule.source_field}»" for rule in ranked[1:6])
    more = f" and {len(ranked) - 6} more" if len(ranked) > 6 else ""
    return f"{target} takes {describe(ranked[0])}; {others}{more} stay apart. The headline leaves that open."


def _no_headline(reason: str) -> InvalidInputError:
    return InvalidInputError(
        "The headline cannot be used.",
        f"{reason}.",
        "Name qualifiers ({window_click_days: 14}), source columns, or a window such as 14d.",
    )
