"""Rows that join and leave a running cache see exactly their own tokens."""

import random

import pytest
import torch
import transformers

from core.engine.cache import RowCache


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        vocab_size=40, max_position_embeddings=1024, initializer_range=0.4,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def sliding_model():
    torch.manual_seed(0)
    config = transformers.MistralConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        vocab_size=40, max_position_embeddings=1024, initializer_range=0.4, sliding_window=6,
    )  # fmt: skip
    return transformers.MistralForCausalLM(config).eval()


def read_prompts(model, cache, prompts):
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    cache.open_prompts(len(prompts), width)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    ).logits[:, -1]
    cache.keep_prompts([len(p) for p in prompts])
    return logits


def step(model, cache, tokens):
    cache.open_step()
    logits = model(
        input_ids=torch.tensor(tokens).unsqueeze(1),
        attention_mask=cache.mask(),
        position_ids=torch.tensor(cache.lengths).unsqueeze(1),
        past_key_values=cache,
        use_cache=True,
    ).logits[:, -1]
    cache.keep_step()
    return logits


@pytest.mark.parametrize("kind", ["model", "sliding_model"])
@pytest.mark.parametrize("seed", range(3))
def test_every_row_gets_the_logits_of_its_own_text_however_rows_come_and_go(request, kind, seed):
    model = request.getfixturevalue(kind)
    chance = random.Random(seed)
    cache, texts = RowCache(2, max_rows=8), []
    with torch.inference_mode():
        for _ in range(60):
            room = 8 - len(texts)
            if room and (not texts or chance.random() < 0.3):
                longest = chance.choice([3, 12, 150])
                prompts = [
                    [chance.randrange(40) for _ in range(chance.randint(1, longest))]
                    for _ in range(chance.randint(1, min(room, 3)))
                ]
                found, first = read_prompts(model, cache, prompts), len(texts)
                texts += prompts
            else:
                tokens = [chance.randrange(40) for _ in texts]
                found, first = step(model, cache, tokens), 0
                for text, token in zip(texts, tokens, strict=True):
                    text.append(token)
            for row, logits in enumerate(found, start=first):
                right = model(input_ids=torch.tensor([texts[row]])).logits[0, -1]
                assert torch.allclose(logits, right, atol=2e-5)
            assert cache.lengths == [len(text) for text in texts]
            while texts and chance.random() < 0.25:
                row = chance.randrange(len(texts))
                cache.drop(row)
                last = texts.pop()
                if row < len(texts):
                    texts[row] = last


def test_what_a_row_left_behind_never_reaches_another_row_even_if_it_was_not_a_number(model):
    cache = RowCache(2, max_rows=4)
    short, long = [1, 2, 3], list(range(20))
    with torch.inference_mode():
        read_prompts(model, cache, [long, long])
        for layer in cache.layers:
            layer.keys.fill_(float("nan"))
            layer.values.fill_(float("nan"))
        cache.drop(1)
        cache.drop(0)
        found = read_prompts(model, cache, [short])
        following = step(model, cache, [7])
        joined = read_prompts(model, cache, [long])
        after = step(model, cache, [8, 9])
        for logits, text in [
            (found[0], short),
            (following[0], [*short, 7]),
            (joined[0], long),
            (after[0], [*short, 7, 8]),
            (after[1], [*long, 9]),
        ]:
            assert torch.allclose(logits, model(input_ids=torch.tensor([text])).logits[0, -1], atol=2e-5)


def test_a_pass_that_failed_half_way_leaves_the_rows_as_they_were(model):
    cache = RowCache(2, max_rows=4)
    with torch.inference_mode():
        read_prompts(model, cache, [[1, 2, 3]])
        cache.open_prompts(2, 300)  # the pass over these prompts fails: nothing is kept
        assert cache.lengths == [3]
        logits = step(model, cache, [4])
        right = model(input_ids=torch.tensor([[1, 2, 3, 4]])).logits[0, -1]
        assert torch.allclose(logits[0], right, atol=2e-5)


def test_a_long_lived_batch_does_not_grow_without_end(model):
    cache = RowCache(2, max_rows=2)
    with torch.inference_mode():
        read_prompts(model, cache, [[1, 2]])
        for turn in range(25):
            read_prompts(model, cache, [[3, 4, turn % 40]])
            for _ in range(20):
                step(model, cache, [1] * len(cache.lengths))
            cache.drop(0)
    assert cache.layers[0].keys.shape[2] <= 256
