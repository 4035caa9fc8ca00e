"""One rule as widgets: operation, its parameters, target and qualifiers. What is chosen comes back as a rule."""

from collections.abc import Sequence

import streamlit as st
from pydantic import ValidationError

from app.ui.mappings.draft import first_reason
from app.ui.mappings.parameters import MOST_WORDS, choose_parameters
from app.ui.mappings.words import (
    OP_HELP,
    OP_WORDS,
    QUALIFIER_WORDS,
    carries_qualifiers,
    default_transform,
    ops_for,
    target_words,
    targets,
)
from app.ui.text import escape
from core.harmonize.records import DAY_QUALIFIERS, Qualifier, Rule
from core.rmis.vocabularies import QUALIFIERS, TransformOp

_NOTHING = "not said"


def edit_rule(rule: Rule, values: Sequence[str], columns: Sequence[str], *, key: str) -> Rule:
    """Draw a rule; the rule as chosen comes back, or the given one where the choices do not go together."""
    left, right = st.columns([3, 2])
    with left:
        target = _target(rule, key)
    with right:
        op = _operation(rule, target, key)
    st.caption(OP_HELP[op])
    transform = (
        rule.transform
        if op is rule.transform.op
        else default_transform(op, target, list(values[:MOST_WORDS]))
    )
    try:
        changed = choose_parameters(transform, target, values, columns, f"{key}-{op.value}")
        qualifiers = _qualifiers(rule, target, key) if op is not TransformOp.DROP else rule.qualifiers
        return Rule(
            source_field=rule.source_field,
            target=target,
            transform=changed,
            qualifiers=qualifiers if carries_qualifiers(target) else {},
            note=rule.note,
        )
    except ValidationError as error:
        st.warning(escape(first_reason(error), 300), icon=":material/warning:")
        return rule


def _target(rule: Rule, key: str) -> str | None:
    known = targets()
    options: list[str] = ["", *known]
    if rule.target and rule.target not in known:
        options.append(rule.target)
    chosen = st.selectbox(
        "Becomes",
        options,
        index=options.index(rule.target or ""),
        format_func=target_words,
        accept_new_options=True,
        help="A column of RMIS. Type to search; cost_component.… may be a name of your own.",
        key=f"{key}-target",
    )
    return chosen or None


def _operation(rule: Rule, target: str | None, key: str) -> TransformOp:
    """The operation; a column that gets another target gets what usually fits that one."""
    options = ops_for(target)
    likely = rule.transform.op
    if target != rule.target:
        likely = TransformOp.DROP if target is None else options[0]
    return st.selectbox(
        "How",
        options,
        index=options.index(likely),
        format_func=OP_WORDS.__getitem__,
        key=f"{key}-op-{target}",
    )


def _qualifiers(rule: Rule, target: str | None, key: str) -> dict[str, Qualifier]:
    if not carries_qualifiers(target):
        return {}
    st.caption("What this number means. Two numbers are comparable only where all of this is equal.")
    names = ["viewability_standard"] if target == "viewable_impressions" else list(QUALIFIERS)[:-1]
    found: dict[str, Qualifier] = {}
    with st.grid(3, min_column_width=120):
        for name in names:
            value = rule.qualifiers.get(name)
            if name in DAY_QUALIFIERS:
                days = st.number_input(
                    QUALIFIER_WORDS[name],
                    0,
                    400,
                    value if isinstance(value, int) else None,
                    placeholder=_NOTHING,
                    key=f"{key}-{name}",
                )
                found[name] = days
            else:
                options = ["", *QUALIFIERS[name]]
                told = "" if value is None else str(value).lower()
                word = st.selectbox(
                    QUALIFIER_WORDS[name],
                    options,
                    index=options.index(told),
                    format_func=lambda w: w.replace("_", " ") or _NOTHING,
                    key=f"{key}-{name}",
                )
                found[name] = (word == "true") if name == "new_to_brand" and word else word or None
    return {name: value for name, value in found.items() if value is not None}
