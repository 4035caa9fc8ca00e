"""A retailer adapter's model as one voice of the mapping suggester: asked in time, and trusted as far as it agrees."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from app.actions import adapters
from app.bootstrap import Console
from core.compose.records import CompositionSpec, Term
from core.datasets.from_mapping import SHOWN_VALUES, column_question
from core.engine.records import Message
from core.harmonize.propose import propose_rules
from core.harmonize.records import SourceCard
from core.harmonize.source.records import Source
from core.harmonize.suggest.evidence import VoiceOpinion
from core.harmonize.suggest.memory import Memory
from core.harmonize.suggest.profile import ColumnProfile
from core.harmonize.suggest.suggest import Suggestion, opinion_of
from core.rmis.facts import FactGroup, fact_column
from core.serve.records import InferenceRequest
from core.tenants.records import Principal

#: A suggestion that is this sure is not asked about, but the voice is tried on it.
SURE = 0.9
MOST_ASKED = 24
MOST_TRIED = 6
AT_ONCE = 8
TIME_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Heard:
    """Suggestions with what a voice added to them.

    Of `tried` columns whose target is known without it the voice named `agreed` right. `asked` columns were unsure;
    it gave an answer that is a rule to `answered` of them before its time was over.
    """

    suggestions: list[Suggestion]
    adapter: str
    tried: int
    agreed: int
    asked: int
    answered: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What the model said of a column, and how sure it was of its own words (0 … 1)."""

    opinion: VoiceOpinion
    sure: float


def suggest_with_voice(
    c: Console,
    p: Principal,
    source: Source,
    *,
    adapter: str,
    card: SourceCard | None,
    documents: Mapping[str, str],
    memory: Memory | None,
    time_limit_s: float = TIME_LIMIT_S,
) -> Heard:
    """Propose rules; where that is unsure, ask the adapter (id or name) about the column and propose again.

    Its word counts as far as it knows this retailer: it is tried on a few columns that are sure without it, too.
    Raises NotFoundError, ConflictError (another base), BusyError, UnavailableError.
    """
    known = adapters.resolve_adapter(c, p, adapter)
    c.engine()  # loaded first, so that the time is that of the questions
    started = time.monotonic()
    alone = propose_rules(source, card=card, documents=documents, memory=memory)
    unsure = [each.source_field for each in alone if each.abstained or each.confidence < SURE][:MOST_ASKED]
    sure = {each.source_field: each.target for each in alone if each.target and each.confidence >= SURE}
    tried = _spread(list(sure), MOST_TRIED)
    answers: dict[str, ModelAnswer] = {}

    def voice(columns: Sequence[ColumnProfile], told: SourceCard | None) -> Mapping[str, VoiceOpinion]:
        who = (told.retailer or told.network) if told is not None else ""
        asked = {each.name: each.values[:SHOWN_VALUES] for each in columns if each.name in (*tried, *unsure)}
        ordered = [name for name in (*tried, *unsure) if asked.get(name)]
        questions = {name: column_question(who, name, asked[name]) for name in ordered}
        answers.update(_ask_all(c, p, known.id, questions, started + time_limit_s))
        trust = _trust(answers, {name: sure[name] for name in tried})
        return {
            name: replace(answers[name].opinion, confidence=trust * answers[name].sure)
            for name in _free(answers, unsure, _held(alone))
        }

    found = alone
    if unsure:
        found = propose_rules(source, card=card, documents=documents, memory=memory, voices=[voice])
    held = [name for name in tried if name in answers]
    return Heard(
        suggestions=found,
        adapter=known.label,
        tried=len(held),
        agreed=sum(answers[name].opinion.target == sure[name] for name in held),
        asked=len(unsure),
        answered=sum(name in answers for name in unsure),
        seconds=time.monotonic() - started,
    )


def _spread(names: Sequence[str], most: int) -> list[str]:
    """At most so many of them, evenly spread."""
    if len(names) <= most:
        return list(names)
    return [names[place * len(names) // most] for place in range(most)]


def _trust(answers: Mapping[str, ModelAnswer], known: Mapping[str, str | None]) -> float:
    """The share of columns with a known target that it named right, as if it had failed on one more.

    A voice that could be tried on nothing is not heard.
    """
    tried = [name for name in known if name in answers]
    agreed = sum(answers[name].opinion.target == known[name] for name in tried)
    return agreed / (len(tried) + 1)


def _held(alone: Sequence[Suggestion]) -> dict[str, str]:
    """Target → the column that has it without the voice, or would have it if anything were suggested."""
    held: dict[str, str] = {}
    for each in sorted(alone, key=lambda each: -each.confidence):
        first = each.alternatives[0][0] if each.abstained and each.alternatives else each.target
        if first:
            held.setdefault(first, each.source_field)
    return held


def _free(answers: Mapping[str, ModelAnswer], unsure: Sequence[str], held: Mapping[str, str]) -> list[str]:
    """Columns whose answer is no second column of one target: a mistake of the voice would else make it a repeat.

    Outcomes may have several columns: windows and splits.
    """
    kept: list[str] = []
    taken = dict(held)
    for name in sorted((n for n in unsure if n in answers), key=lambda n: -answers[n].sure):
        target = answers[name].opinion.target
        fact = fact_column(target) if target else None
        several = fact is None or fact.group is FactGroup.OUTCOME
        if several or taken.setdefault(str(target), name) == name:
            kept.append(name)
    return kept


def _ask_all(
    c: Console, p: Principal, adapter_id: str, questions: Mapping[str, str], until: float
) -> dict[str, ModelAnswer]:
    """Answers that are rules, by column. What is not there in time is left out; the first error is raised."""

    def ask(question: str) -> ModelAnswer | None:
        if time.monotonic() >= until:
            return None
        request = InferenceRequest(
            messages=(Message("user", question),),
            composition=CompositionSpec(terms=(Term(adapter=adapter_id),)),
        )
        with c.admission.enter(p, request) as entry:
            given = c.runtime.answer(p, request, cancelled=lambda: time.monotonic() >= until)
            entry.answered(given)
        return read_answer(given.text, math.exp(min(0.0, given.mean_logprob)))

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="voice") as pool:
        given = dict(zip(questions, pool.map(ask, questions.values()), strict=True))
    return {name: answer for name, answer in given.items() if answer is not None}


def read_answer(text: str, sure: float) -> ModelAnswer | None:
    """An answer as an opinion; None where it is cut off, no JSON, or no rule of RMIS."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    opinion = opinion_of(told, sure) if isinstance(told, dict) and "target" in told else None
    return None if opinion is None else ModelAnswer(opinion, sure)
