"""Untrusted text never becomes markup."""

import re

from app.ui.text import WORD_JOINER, escape, escape_badge, plain

NASTY = (
    "**bold** _it_ `code` [a](http://evil.test) ![x](http://evil.test/x.png)",
    "<b>html</b> <img src=x onerror=alert(1)> &amp;",
    ":red[red] :material/home: :+1: :red-badge[x]",
    "www.evil.test mail@evil.test https://evil.test/a?b=c",
    "$x^2$ | a | > quote # head -> ~~s~~",
    "back\\slash \\* \\",
)


def read_back(escaped: str) -> str:
    """What a Markdown reader makes of text whose every sign is escaped."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", escaped).replace(WORD_JOINER, "")


def test_escaped_text_reads_back_letter_by_letter():
    for text in NASTY:
        assert read_back(escape(text, None)) == text


def test_every_sign_that_markdown_could_read_is_escaped():
    for text in NASTY:
        assert not re.search(r"(?<!\\)(?:\\\\)*[*_`\[\]<>#|$~&!]", escape(text, None).replace("\\\\", ""))


def test_icons_links_and_addresses_are_broken_for_readers_that_come_after_markdown():
    assert ":material" not in read_but_keep_joiners(":material/home:")
    assert "www." not in read_but_keep_joiners("www.evil.test")
    assert "http:/" not in read_but_keep_joiners("http://evil.test")
    assert "mail@evil" not in read_but_keep_joiners("mail@evil.test")


def read_but_keep_joiners(text: str) -> str:
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", escape(text, None))


def test_lines_are_joined_so_that_no_block_can_begin():
    assert escape("a\n# b\r\nc\td") == "a \\# b\u2426 c d"


def test_signs_that_hide_or_reorder_text_become_visible():
    assert plain("pay\u202eabc\u200b\x00") == "pay\u2426abc\u2426\u2426"
    assert plain("two\nlines\tkept, Zürich 東京") == "two\nlines\tkept, Zürich 東京"


def test_long_text_is_cut_and_says_so():
    assert plain("abcdef", 4) == "abc…"
    assert plain("abcd", 4) == "abcd"


def test_a_badge_keeps_its_brackets_because_the_badge_escapes_them():
    assert escape_badge("a[b]") == "a[b]"
