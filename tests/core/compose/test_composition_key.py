import string
from collections.abc import Callable
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.engine.records import AdapterRef, Composition, WeightedAdapter
from core.storage.digests import digest_adapter_folder

digests = st.text(string.hexdigits.lower()[:16], min_size=64, max_size=64)
weights = st.floats(-8, 8, allow_nan=False).filter(lambda w: w != 0)
contents = st.dictionaries(digests, weights, min_size=1, max_size=6)


def composition(content: dict[str, float], base: str = "b" * 64, folder: str = "x") -> Composition:
    terms = (
        WeightedAdapter(AdapterRef(digest, Path(folder) / digest), weight)
        for digest, weight in content.items()
    )
    return Composition(base, tuple(terms))


@given(content=contents, order=st.randoms())
def test_equal_content_has_an_equal_key_wherever_and_in_whatever_order_it_is_named(
    content: dict[str, float], order: Random
) -> None:
    shuffled = list(content.items())
    order.shuffle(shuffled)
    assert composition(dict(shuffled), folder="y").key == composition(content).key


@given(content=contents, data=st.data())
def test_a_changed_weight_gives_another_key(content: dict[str, float], data: st.DataObject) -> None:
    digest = data.draw(st.sampled_from(sorted(content)))
    other = data.draw(weights.filter(lambda w: w != content[digest]))
    assert composition(content | {digest: other}).key != composition(content).key


@given(content=contents, data=st.data())
def test_another_digest_base_or_term_gives_another_key(
    content: dict[str, float], data: st.DataObject
) -> None:
    key = composition(content).key
    digest = data.draw(st.sampled_from(sorted(content)))
    fresh = data.draw(digests.filter(lambda d: d not in content))
    swapped = {fresh if d == digest else d: w for d, w in content.items()}
    fewer = {d: w for d, w in content.items() if d != digest}
    keys = [composition(c).key for c in (swapped, fewer, content | {fresh: 1.0})]
    keys.append(composition(content, base="c" * 64).key)
    assert key not in keys
    assert len(set(keys)) == len(keys)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_byte_of_weights_or_configuration_gives_another_digest(
    data: st.DataObject, make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_adapter(1, folder=tmp_path / "adapter", targets=["q_proj"])
    before = digest_adapter_folder(folder)
    (folder / "README.md").write_text("a name does not matter")
    assert digest_adapter_folder(folder) == before
    file = folder / data.draw(st.sampled_from(["adapter_model.safetensors", "adapter_config.json"]))
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    assert digest_adapter_folder(folder) != before
