"""The parts of the alarm: bets that know since when they win, the coin, and what is kept."""

import pytest

from core.errors import IntegrityError
from core.stats.bets import Bets, coin, pack, unpack


def test_the_coin_is_that_of_splitmix64() -> None:
    # Vigna's reference (splitmix64.c) with seed 0: the first outputs.
    known = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)
    assert [coin(n) for n in (1, 2, 3)] == [(z >> 11) / 2**53 for z in known]


def test_bets_tell_since_when_they_win() -> None:
    bets = Bets(1, 1e-3)
    for log in (-1.0, -1.0, 0.5, 0.5, 0.5):
        bets.add([log], [1.0], 1)
    assert bets.since == (3, 3)


def test_a_bet_that_reaches_its_limit_says_so_and_can_begin_anew() -> None:
    bets = Bets(2, 0.01)
    weights = (0.5, 0.5)
    reached = [bets.add([1.0, -1.0], weights) for _ in range(6)]
    # M of the first: e, e + e², …; half of it is above 100 from the fifth value on.
    assert reached == [False, False, False, False, True, True]
    bets.clear()
    assert bets.state() == [0.0] * 8
    assert not bets.add([1.0, -1.0], weights)


def test_numbers_come_back_as_they_were_kept() -> None:
    numbers = (0.1, -2.0, 1e300, 3.0)
    assert unpack(pack(numbers), 4) == numbers
    for damaged in (pack(numbers)[:-4], b"", b"\x00" + pack(numbers)[1:], pack([float("nan")] * 4)):
        with pytest.raises(IntegrityError):
            unpack(damaged, 4)
    with pytest.raises(IntegrityError):
        unpack(pack(numbers), 5)
