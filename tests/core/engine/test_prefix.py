"""Prompts that begin alike are read once, for the same owner and composition only, and the answers stay the same."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from core.engine.cache import RowCache
from core.engine.prefix import BLOCK, PrefixCache

LONG = "the weekly report of retailer alpha, in full: "  # 46 tokens and three markers
ENDLESS = {"eos_token_id": None}


def some_values(tokens, mark=0.0):
    return torch.full((2, 2, 1, tokens, 4), float(mark))


def fill(cache, key, tokens, mark=0.0):
    first, whole = cache.missing_from(key, tokens), len(tokens) // BLOCK * BLOCK
    if first < whole:
        cache.keep(key, tokens, first, some_values(whole - first, mark))


def test_blocks_are_found_by_owner_composition_and_every_token_before():
    cache, tokens = PrefixCache(1 << 20), list(range(40))
    fill(cache, ("a", "c1"), tokens)
    assert cache.length(("a", "c1"), tokens) == 32
    assert cache.length(("a", "c1"), tokens[:32]) == 31  # the last token is read for its answer
    assert cache.length(("a", "c1"), [*tokens[:20], 99, *tokens[21:]]) == 16
    assert cache.length(("a", "c1"), [99, *tokens[1:]]) == 0
    assert cache.length(("a", "c1"), tokens[16:]) == 0
    assert cache.length(("b", "c1"), tokens) == cache.length(("a", "c2"), tokens) == 0


def test_what_is_taken_is_what_was_kept():
    cache, tokens = PrefixCache(1 << 20), list(range(64))
    values = torch.randn(2, 2, 3, 64, 4)
    cache.keep("k", tokens, 0, values[:, :, :, :32])
    cache.keep("k", tokens, 32, values[:, :, :, 32:])
    for length in (1, 16, 31, 50, 63):
        assert torch.equal(cache.take("k", tokens, length), values[:, :, :, :length])


def test_the_least_recently_used_is_dropped_and_never_a_block_that_others_follow():
    block = some_values(BLOCK).nbytes
    cache = PrefixCache(4 * block)
    first, second, third = ([n] * 32 for n in range(3))
    fill(cache, "k", first)
    fill(cache, "k", second)
    assert cache.length("k", first) == 31  # now the most recently used
    fill(cache, "k", third)
    assert [cache.length("k", prompt) for prompt in (first, second, third)] == [31, 0, 31]
    status = cache.status()
    assert (status.entries, status.bytes, status.budget_bytes) == (4, 4 * block, 4 * block)
    chance = random.Random(0)
    for _ in range(300):
        fill(cache, "k", [chance.randrange(3) for _ in range(chance.randrange(20, 80))][: 2 * BLOCK])
        assert cache.status().bytes <= 4 * block
        parents = {block.number for block in cache._blocks.values()} | {"k"}
        assert all(parent in parents for parent, _ in cache._blocks)


def test_a_prompt_that_would_push_out_the_others_is_not_kept():
    assert not PrefixCache(0).accepts(1)
    assert PrefixCache(100).accepts(50)
    assert not PrefixCache(100).accepts(51)


@pytest.mark.parametrize("sliding", [None, 6])
def test_a_row_that_begins_with_kept_values_gets_the_logits_of_its_whole_text(sliding):
    import transformers

    torch.manual_seed(0)
    kind = "Mistral" if sliding else "Llama"
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        vocab_size=40, max_position_embeddings=256, initializer_range=0.4,
        **({"sliding_window": sliding} if sliding else {}),
    )  # fmt: skip
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    chance = random.Random(1)
    texts = [[chance.randrange(40) for _ in range(length)] for length in (40, 3, 25)]
    cache = RowCache(2, max_rows=8)

    def read(rows, known, width):
        longest = max(map(len, rows))
        mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in rows])
        ids = torch.tensor([[0] * max(0, width - len(r)) + r[-width:] for r in rows])
        cache.open_prompts(len(rows), width, longest)
        for place, (row, values) in enumerate(zip(rows, known, strict=True)):
            if values is not None:
                cache.fill(place, values[:, :, :, : len(row) - width])
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, longest - width :]
        logits = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).logits[:, -1]
        cache.keep_prompts([len(r) for r in rows])
        return logits

    with torch.inference_mode():
        read([texts[0]], [None], 40)
        kept = cache.read(0, 0, 32)
        for layer in cache.layers:  # whatever lies in the columns of rows to come is not theirs
            layer.keys[1:], layer.values[1:] = float("nan"), float("nan")
        logits = read([texts[0], texts[1], [*texts[0][:20], *texts[2]]], [kept, None, kept[:, :, :, :20]], 27)
        rows = [texts[0], texts[1], [*texts[0][:20], *texts[2]]]
        for found, text in zip(logits, rows, strict=True):
            assert torch.allclose(found, model(input_ids=torch.tensor([text])).logits[0, -1], atol=2e-5)
        rows = [texts[0], *rows]
        cache.open_step()
        after = model(
            input_ids=torch.tensor([[7]] * 4), attention_mask=cache.mask(),
            position_ids=torch.tensor(cache.lengths).unsqueeze(1), past_key_values=cache, use_cache=True,
        ).logits[:, -1]  # fmt: skip
        cache.keep_step()
        for found, text in zip(after, rows, strict=True):
            assert torch.allclose(found, model(input_ids=torch.tensor([[*text, 7]])).logits[0, -1], atol=2e-5)


def test_answers_with_kept_prompts_are_those_without_and_the_status_counts_them(make_bench):
    with_it = make_bench(**ENDLESS)
    without = make_bench(**ENDLESS, engine_options={"prefix_bytes": 0})
    prompts = [LONG + end for end in ("", "why?", "how much was sold in week 3?", "why?")] + ["hi"]
    refs = [bench.adapter("one") for bench in (with_it, without)]
    for weight in (0.0, 1.0):
        for prompt in prompts:
            kept, plain = (
                bench.answer(bench.compose((ref, weight)), prompt, tokens=12)
                for bench, ref in zip((with_it, without), refs, strict=True)
            )
            assert kept.token_ids == plain.token_ids
            assert plain.cached_tokens == 0
    status = with_it.engine.status().prefix
    assert (status.hits, status.misses) == (6, 2)
    assert status.tokens_saved >= 6 * 32
    assert 0 < status.bytes <= status.budget_bytes
    assert without.engine.status().prefix.entries == 0


def test_14_the_same_prompt_under_c1_then_c2_is_cold_c2(make_bench):
    bench, cold = make_bench(**ENDLESS), make_bench(**ENDLESS)
    names = ("first", "second")
    warm, fresh = ([b.compose((b.adapter(name), 1.0)) for name in names] for b in (bench, cold))
    mixtures = [
        b.compose((c[0].terms[0].adapter, 0.5), (c[1].terms[0].adapter, 0.5))
        for b, c in ((bench, warm), (cold, fresh))
    ]
    bench.answer(bench.compose(), LONG)
    for c1 in warm:
        bench.answer(c1, LONG)
    right = cold.answer(fresh[1], LONG)
    assert cold.answer(mixtures[1], LONG).cached_tokens == 0
    mixed = bench.answer(mixtures[0], LONG)
    assert mixed.cached_tokens == 0
    again = bench.answer(warm[1], LONG)
    assert again.cached_tokens >= 32
    assert again.token_ids == right.token_ids
    assert len({bench.answer(c, LONG).token_ids for c in (bench.compose(), *warm, mixtures[0])}) == 4


def test_an_owner_cannot_learn_what_another_asked(make_bench):
    bench = make_bench(**ENDLESS)
    first = bench.answer(bench.compose(), LONG, owner="a")
    assert bench.answer(bench.compose(), LONG, owner="a").cached_tokens >= 32
    other = bench.answer(bench.compose(), LONG, owner="b")
    assert other.cached_tokens == 0
    assert other.token_ids == first.token_ids


def test_kept_prompts_serve_many_rows_at_once_beside_running_ones(make_bench):
    bench = make_bench(**ENDLESS, engine_options={"max_batch_rows": 6})
    ref = bench.adapter("many")
    compositions = [bench.compose(), bench.compose((ref, 1.0)), bench.compose((ref, -0.5))]
    asked = [(c, (LONG * (n % 3) + f"row {n}")) for n in range(12) for c in compositions]
    alone = [
        bench.answer(c, prompt, tokens=8, owner=f"cold{i}").token_ids for i, (c, prompt) in enumerate(asked)
    ]
    for _ in range(2):
        with ThreadPoolExecutor(9) as threads:
            found = list(threads.map(lambda pair: bench.answer(*pair, tokens=8), asked))
        assert [answer.token_ids for answer in found] == alone
    assert sum(answer.cached_tokens > 0 for answer in found) >= 24
