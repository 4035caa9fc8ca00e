"""How sure the model was of each token: against a direct softmax in float64."""

import math

import pytest
import torch

from core.engine.decode import Sampler, choose_tokens


def facts_by_softmax(logits, token):
    p = torch.softmax(logits.double(), dim=-1)
    top = p.sort(descending=True).values
    entropy = -(p * p.clamp(min=1e-300).log()).sum()
    return float(p[token].log()), float(entropy), float(top[0] - top[1])


def test_facts_of_a_batch_are_those_of_a_direct_softmax():
    random = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 300, generator=random) * torch.tensor([0.0, 0.1, 1, 5, 20, 80]).unsqueeze(1)
    samplers = [None, None, None, Sampler(1.0, 1.0, 1), None, Sampler(2.0, 0.9, 2)]
    for row, choice in enumerate(choose_tokens(logits, samplers)):
        right = facts_by_softmax(logits[row], choice.token)
        found = (choice.facts.logprob, choice.facts.entropy, choice.facts.margin)
        assert found == pytest.approx(right, abs=2e-5)


def test_a_token_that_is_ruled_out_adds_nothing_and_equal_tokens_have_no_margin():
    certain, tied = choose_tokens(
        torch.tensor([[0.0, -math.inf, -math.inf], [1.0, 1.0, -math.inf]]), [None, None]
    )
    assert (certain.token, certain.facts.logprob, certain.facts.entropy, certain.facts.margin) == (
        0,
        0.0,
        0.0,
        1.0,
    )
    assert tied.token == 0
    assert tied.facts.margin == 0.0
    assert tied.facts.entropy == pytest.approx(math.log(2))


def test_an_answer_carries_the_facts_of_every_token_and_their_means(bench):
    for options in ({}, {"temperature": 1.0, "seed": 4}):
        answer = bench.answer(
            bench.compose((bench.adapter(f"facts{len(options)}"), 0.0)), "hello", tokens=8, **options
        )
        ids = bench.base.tokenizer.apply_chat_template(
            [{"role": "user", "content": "hello"}], add_generation_prompt=True, return_dict=False
        )
        with torch.inference_mode():
            logits = bench.base.model(input_ids=torch.tensor([ids + list(answer.token_ids)])).logits[0]
        right = [
            facts_by_softmax(logits[len(ids) - 1 + n], token) for n, token in enumerate(answer.token_ids)
        ]
        found = [(fact.logprob, fact.entropy, fact.margin) for fact in answer.token_facts]
        assert found == [pytest.approx(facts, abs=1e-4) for facts in right]
        count = len(right)
        assert answer.mean_logprob == pytest.approx(sum(f[0] for f in right) / count, abs=1e-4)
        assert answer.mean_entropy == pytest.approx(sum(f[1] for f in right) / count, abs=1e-4)
        assert answer.min_margin == pytest.approx(min(f[2] for f in right), abs=1e-4)
        assert 0 < answer.queued_ms + 1e-3 < answer.first_token_ms <= answer.queued_ms + answer.generate_ms


def test_an_answer_without_a_token_has_no_facts(bench):
    answer = bench.engine.generate(bench.compose(), bench.request(tokens=5), cancelled=lambda: True)
    if answer.completion_tokens == 0:
        assert (answer.token_facts, answer.mean_entropy, answer.min_margin, answer.first_token_ms) == (
            (),
            0,
            0,
            0,
        )
    else:
        assert len(answer.token_facts) == answer.completion_tokens
