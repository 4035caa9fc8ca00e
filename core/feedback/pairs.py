"""Preference pairs in plain values: their digest, what a crowd says of one, and the lines that a trainer reads."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from core.engine.records import Message
from core.feedback.records import FeedbackStats, ModelTally, PreferencePair


def pair_digest(messages: Sequence[Message], one: str, other: str) -> str:
    """SHA-256 of a prompt and two answers, the same for both orders of the answers."""
    turns = [[message.role, message.content] for message in messages]
    content = json.dumps([turns, sorted((one, other))], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()


def settled(pairs: Iterable[PreferencePair]) -> Iterator[PreferencePair]:
    """Each prompt with its two answers once, as most people chose, in order of the first judgement.

    Where as many say one thing as the other, nothing is settled and the pair is left out.
    """
    for judged in _by_digest(pairs).values():
        votes = Counter(pair.chosen for pair in judged)
        winner, most = votes.most_common(1)[0]
        if 2 * most > len(judged):
            yield next(pair for pair in judged if pair.chosen == winner)


def dpo_line(pair: PreferencePair) -> str:
    """One line of JSON in the conversational preference format of TRL: prompt, chosen, rejected, each a list of turns."""
    row = {
        "prompt": [{"role": m.role, "content": m.content} for m in pair.messages],
        "chosen": [{"role": "assistant", "content": pair.chosen}],
        "rejected": [{"role": "assistant", "content": pair.rejected}],
    }
    return json.dumps(row, ensure_ascii=False)


def summarize(pairs: Sequence[PreferencePair]) -> FeedbackStats:
    """Counts, and how far people agree."""
    groups = _by_digest(pairs)
    several = [judged for judged in groups.values() if len(judged) > 1]
    couples = sum(_couples(len(judged)) for judged in several)
    alike = sum(_couples(votes) for judged in several for votes in Counter(p.chosen for p in judged).values())
    chosen = Counter(pair.chosen_model for pair in pairs if pair.chosen_model)
    rejected = Counter(pair.rejected_model for pair in pairs if pair.rejected_model)
    return FeedbackStats(
        judgements=len(pairs),
        people=len({pair.created_by for pair in pairs}),
        prompts=len({pair.messages for pair in pairs}),
        exportable=sum(1 for _ in settled(pairs)),
        judged_twice=len(several),
        couples=couples,
        agreement=alike / couples if couples else None,
        by_source=dict(sorted(Counter(pair.source.value for pair in pairs).items())),
        by_model=tuple(
            ModelTally(model, chosen[model], rejected[model])
            for model in sorted(chosen.keys() | rejected.keys())
        ),
    )


def _by_digest(pairs: Iterable[PreferencePair]) -> dict[str, list[PreferencePair]]:
    groups: dict[str, list[PreferencePair]] = {}
    for pair in pairs:
        groups.setdefault(pair.digest, []).append(pair)
    return groups


def _couples(people: int) -> int:
    return people * (people - 1) // 2
