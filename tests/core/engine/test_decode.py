import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.engine.decode import Sampler, TextAssembly, choose_tokens


def decode_bytes(ids):
    return bytes(ids).decode("utf-8", errors="replace")


def test_greedy_takes_the_likeliest_token_and_reports_its_log_probability():
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    first, second = choose_tokens(logits, [None, None])
    assert (first.token, second.token) == (1, 0)
    assert first.facts.logprob == pytest.approx(2 - math.log(math.exp(0) + math.exp(2) + math.exp(1)))


def test_logits_that_are_not_numbers_give_no_token_and_spare_the_neighbours():
    logits = torch.tensor([[0.0, math.nan], [1.0, 0.0], [math.inf, 0.0]])
    chosen = choose_tokens(logits, [None, Sampler(1.0, 1.0, 0), Sampler(1.0, 1.0, 0)])
    assert chosen[0] is None
    assert chosen[1] is not None
    assert chosen[2] is None


def test_sampling_follows_the_distribution():
    sampler = Sampler(1.0, 1.0, seed=5)
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2]))
    counts = [0, 0, 0]
    for _ in range(4000):
        counts[sampler.choose(logits)] += 1
    assert counts == pytest.approx([2000, 1200, 800], abs=150)


def test_top_p_keeps_the_smallest_set_and_temperature_sharpens():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    narrow = Sampler(1.0, 0.6, seed=1)
    assert {narrow.choose(logits) for _ in range(300)} == {0, 1}
    assert {Sampler(1.0, 0.5, seed=n).choose(logits) for n in range(100)} == {0}
    for temperature in (0.05, 1e-300):
        cold = Sampler(temperature, 1.0, seed=1)
        assert {cold.choose(logits) for _ in range(100)} == {0}


def test_a_seed_gives_the_same_tokens_whoever_else_is_in_the_batch():
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    alone, crowded = Sampler(1.0, 0.9, seed=42), Sampler(1.0, 0.9, seed=42)
    mine = [choose_tokens(logits[:1], [alone])[0].token for _ in range(20)]
    others = [None, Sampler(0.7, 1.0, 3), None, Sampler(1.3, 0.5, 4), None]
    together = [choose_tokens(logits, [crowded, *others])[0].token for _ in range(20)]
    assert mine == together
    assert len(set(mine)) > 1


def test_a_character_of_several_tokens_appears_whole_or_not_at_all():
    assembly = TextAssembly(decode_bytes, ())
    pieces = [assembly.add(byte) for byte in "aé€😀".encode()]
    assert [p for p in pieces if p] == ["a", "é", "€", "😀"]
    assert assembly.finish() == ""


def test_bytes_that_never_become_a_character_are_shown_at_the_end():
    assembly = TextAssembly(decode_bytes, ())
    assert [assembly.add(byte) for byte in (65, 0xE2, 0x82)] == ["A", "", ""]
    assert assembly.finish() == "\ufffd"
    assert assembly.text == "A\ufffd"


def test_a_stop_string_across_tokens_ends_the_answer_and_no_part_of_it_is_shown():
    assembly = TextAssembly(decode_bytes, ("END",))
    pieces = []
    for byte in b"xENyENDz":
        pieces.append(assembly.add(byte))
        if assembly.stopped:
            break
    assert "".join(pieces) == assembly.text == "xENy"
    assert assembly.finish() == ""


def test_the_start_of_a_stop_string_is_shown_when_the_answer_ends_there():
    assembly = TextAssembly(decode_bytes, ("END",))
    pieces = [assembly.add(byte) for byte in b"abEN"]
    assert "".join(pieces) == "ab"
    assert assembly.finish() == "EN"


@settings(max_examples=120, deadline=None)
@given(
    data=st.one_of(st.binary(max_size=40), st.text(max_size=20).map(str.encode)),
    stops=st.lists(st.text("ab€\n", min_size=1, max_size=3), max_size=2),
)
def test_the_pieces_are_the_text_up_to_the_first_stop_string(data, stops):
    assembly = TextAssembly(decode_bytes, stops)
    pieces = []
    for byte in data:
        pieces.append(assembly.add(byte))
        if assembly.stopped:
            break
    pieces.append(assembly.finish())
    whole = decode_bytes(data)
    assert "".join(pieces) == assembly.text
    assert not any(stop in assembly.text for stop in stops)
    assert whole.startswith(assembly.text)
    if not assembly.stopped:
        assert assembly.text == whole


def test_an_unseeded_request_is_random():
    logits = torch.zeros(1000)
    random.seed(0)
    assert len({Sampler(1.0, 1.0, None).choose(logits) for _ in range(20)}) > 5
