import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.harmonize.source.json_rows import BadRow, flatten
from core.harmonize.source.records import SourceLimits

LIMITS = SourceLimits(depth=5, keys=20)


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ('{"a": 1.10, "b": 1e5, "c": -0}', {"a": "1.10", "b": "1e5", "c": "-0"}),
        ('{"a": 1234567890123456789012345}', {"a": "1234567890123456789012345"}),
        ('{"a": 12345678901234567890.123456789}', {"a": "12345678901234567890.123456789"}),
        ('{"a": true, "b": false, "c": null, "d": ""}', {"a": "true", "b": "false", "c": None, "d": None}),
        ('{"a": "null", "b": "0", "c": " "}', {"a": "null", "b": "0", "c": " "}),
        ('{"a": {"b": {"c": 1.0}}, "d": {}}', {"a.b.c": "1.0", "d": None}),
        ('{"a": [1.10, {"b": 2}], "c": {"d": [ ]}}', {"a": '[1.10, {"b": 2}]', "c.d": "[ ]"}),
        ('{"a": "x\\"y\\\\\\n\\u00e9\\ud83d\\ude00"}', {"a": 'x"y\\\né😀'}),
        ('{"k\\u00e9y": 1, "": 2, "__line": 3}', {"kéy": "1", "(no name)": "2", "__line (2)": "3"}),
        (' {\t"a" : 1 }\r', {"a": "1"}),
        ("{}", {}),
        ('{"a.b": 1, "a": {"c": 2}}', {"a.b": "1", "a.c": "2"}),
    ],
)
def test_an_object_becomes_texts_by_dotted_name(text: str, row: dict[str, str | None]) -> None:
    assert flatten(text, LIMITS) == row


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("x", "not valid JSON"),
        ("[1]", "not an object"),
        ('"x"', "not an object"),
        ("1", "not an object"),
        ('{"a": 1', "not valid JSON"),
        ('{"a": 1,}', "not valid JSON"),
        ('{"a" 1}', "not valid JSON"),
        ('{"a": 01}', "not valid JSON"),
        ('{"a": 1.}', "not valid JSON"),
        ('{"a": .5}', "not valid JSON"),
        ('{"a": True}', "not valid JSON"),
        ("{'a': 1}", "not valid JSON"),
        ('{"a": "x\ty"}', "not valid JSON"),
        ('{"a": "\\x"}', "not valid JSON"),
        ('{"a": [1,]}', "not valid JSON"),
        ('{"a": 1} x', "text after the end"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": [-Infinity]}', "-Infinity is not a JSON number"),
        ('{"a": 1, "a": 1}', "a key appears twice"),
        ('{"a": {"b": 1, "b": 2}}', "a key appears twice"),
        ('{"a.b": 1, "a": {"b": 2}}', "a key appears twice"),
        ('{"a": "\\ud800"}', "half a surrogate pair"),
        ('{"\\udfff": 1}', "half a surrogate pair"),
        ('{"a": ["\\ud800"]}', "half a surrogate pair"),
        ('{"a": "\\u0000"}', "NUL"),
        ('{"a":' * 6 + "1" + "}" * 6, "deeper than 5 levels"),
        ('{"a": ' + "[" * 6 + "]" * 6 + "}", "deeper than 5 levels"),
        ('{"a": ' + "[" * 99_999 + "]" * 99_999 + "}", "nested too deep"),
        ("{" + ",".join(f'"k{i}":1' for i in range(21)) + "}", "more than 20 keys"),
        ('{"' + "k" * 481 + '": 1}', "longer than 480"),
    ],
)
def test_what_is_no_sound_object_says_why(text: str, words: str) -> None:
    with pytest.raises(BadRow) as caught:
        flatten(text, LIMITS)
    assert words in str(caught.value)


def test_the_form_of_an_object_is_told_in_order() -> None:
    shape: list[str] = []
    flatten('{"a": 1, "b": {"c": "x", "d": [1]}, "e": {}}', LIMITS, shape)
    assert shape == ["{", "ka", "v", "kb", "{", "kc", "v", "kd", "l", "}", "ke", "{}", "}"]


# NUL and halves of surrogate pairs have tests of their own.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcé ", max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


def flat(value: dict[str, object], prefix: str = "") -> dict[str, str | None]:
    """The same by plain recursion over what the standard library reads."""
    found: dict[str, str | None] = {}
    for key, item in value.items():
        name = prefix + (key or "(no name)")
        if isinstance(item, dict) and item:
            found |= flat(item, f"{name}.")
        elif isinstance(item, list):
            found[name] = json.dumps(item, ensure_ascii=False)
        elif isinstance(item, bool):
            found[name] = "true" if item else "false"
        else:
            found[name] = None if item is None or item in ("", {}) else str(item)
    return found


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text("abcé ", max_size=3), VALUES, max_size=5))
def test_any_object_is_read_as_the_standard_library_reads_it(value: dict[str, object]) -> None:
    text = json.dumps(value, ensure_ascii=False)
    expected = flat(value)
    assert flatten(text, SourceLimits()) == expected
    assert flatten(text, SourceLimits(), []) == expected
