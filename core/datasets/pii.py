"""Text that looks like personal data: e-mail, phone, payment card, IBAN, social security number, IP address, name.

Numbers of retail media look alike: a GTIN, an ad id or a time in milliseconds is not a payment card. A name is
told by what stands before it, so that brands and campaigns are none. `screen_personal_data` looks through a whole
column fast and lets nothing through that `find_personal_data` would find.
"""

import ipaddress
import re
from collections.abc import Iterator

import polars as pl

from core.datasets.names import NAME_SCREEN, name_spans
from core.datasets.secrets import holds_secret

__all__ = [
    "find_personal_data",
    "holds_secret",
    "is_gtin",
    "is_iban",
    "mask_personal_data",
    "passes_luhn",
    "screen_personal_data",
]

_EMAIL = re.compile(
    r"(?<![\w.%+-])[A-Za-z0-9_%+-][\w.%+-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}(?![\w-])"
)
_PHONE = re.compile(
    r"(?<![\w:.+-])\+[1-9]\d{0,2}[ .-]?(?:\(0?\d{1,4}\)|\d{1,4})(?:[ .-]?\d{2,4}){2,4}(?![\w:])"
    r"|(?<![\w.-])(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-.])[2-9]\d{2}[-.]\d{4}(?![\w-])"
)
_NAMED_PHONE = re.compile(
    r"(?i)\b(?:phone|tel|telephone|mobile|cell|fax|whatsapp)\W{1,4}(\+?\(?\d[\d ()./-]{5,18}\d)(?!\w)"
)
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])(?!\.\d)")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_SSN = re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])")
_IPV4 = re.compile(r"(?<![\w.:/-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,7}(?![\w:]|\.\d)")
_VERSION = re.compile(
    r"(?i)(?:\bv|version|release|build|firmware|sdk|api|app|os|patch|rev|software|driver|section|chapter|clause)"
    r"[^a-z0-9]{0,4}$"
)
_CALLED_IP = re.compile(r"(?i)\bip(?:v4)?(?:[ _-]?addr(?:ess)?)?\b[^a-z0-9]{0,4}$")
LARGEST_OF_VERSION = 31
_NAMED_NUMBER = re.compile(
    r"(?i)(?:gtin|upc|ean|isbn|barcode|sku|asin|item|product|order|campaign|keyword|creative|advertiser|account"
    r"|session|request|event|time|\bts|id|nr|no)[^a-z0-9]{0,6}$"
)
CONTEXT_CHARACTERS = 24
#: Each finds at least what its exact pattern above finds; none looks around itself, so a whole column is searched fast.
SCREENS = (
    r"@[A-Za-z0-9-]+\.[A-Za-z0-9-]",
    r"\+[1-9][\d ().-]{4,}\d",
    r"(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-.])[2-9]\d{2}[-.]\d{4}",
    r"(?i)(?:phone|tel|telephone|mobile|cell|fax|whatsapp)[^\w]{1,4}\+?\(?\d[\d ()./-]{5,}",
    r"(?:^|[^\w.-])(?:4[ -]?\d(?:[ -]?\d){14}|5[ -]?[1-5](?:[ -]?\d){14}|2[ -]?[2-7](?:[ -]?\d){14}"
    r"|6[ -]?[025](?:[ -]?\d){14}|3[ -]?[0-9](?:[ -]?\d){12})",
    r"(?:^|[^\w])[A-Z]{2}\d{2} ?[A-Z0-9]{4} ?[A-Z0-9]{4}",
    r"\d{3}-\d{2}-\d{4}",
    r"(?:\d{1,3}\.){3}\d{1,3}",
    r"[0-9A-Fa-f]:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]|[0-9A-Fa-f]::[0-9A-Fa-f]",
    NAME_SCREEN,
)


def find_personal_data(text: str) -> set[str]:
    """Kinds of personal data that the text seems to hold."""
    return {kind for _, _, kind in personal_spans(text)}


def mask_personal_data(text: str) -> str:
    """The text with «[e-mail]», «[card]» and so on in the place of what `find_personal_data` finds."""
    kept, end = [], 0
    for start, stop, kind in sorted(personal_spans(text)):
        if stop <= end:
            continue
        kept += [text[end : max(start, end)], f"[{kind}]" if start >= end else ""]
        end = stop
    return "".join([*kept, text[end:]])


def personal_spans(text: str) -> Iterator[tuple[int, int, str]]:
    """Where the text seems to hold personal data: start, end and kind. Spans of two kinds may overlap."""
    if "@" in text:
        yield from (_span(match, "e-mail") for match in _EMAIL.finditer(text))
    yield from (_span(match, "phone") for match in _PHONE.finditer(text))
    for match in _NAMED_PHONE.finditer(text):
        if 7 <= _digit_count(match[1]) <= 15:
            yield match.start(1), match.end(1), "phone"
    yield from (_span(match, "card") for match in _cards(text))
    for match in _IBAN.finditer(text):
        if is_iban(match[0].replace(" ", "")):
            yield _span(match, "IBAN")
    yield from (_span(match, "social security number") for match in _SSN.finditer(text))
    yield from (_span(match, "IP address") for match in _addresses(text))
    yield from ((start, end, "name") for start, end in name_spans(text))


def _span(match: re.Match[str], kind: str) -> tuple[int, int, str]:
    return match.start(), match.end(), kind


def screen_personal_data(texts: pl.Series) -> pl.Series:
    """Whether each text may hold personal data: false means that `find_personal_data` finds nothing in it."""
    found = pl.lit(False)
    for pattern in SCREENS:
        found = found | pl.col("text").str.contains(pattern)
    return texts.alias("text").to_frame().lazy().select(found).collect().to_series()


def passes_luhn(digits: str) -> bool:
    """Check digit of a payment card (ISO/IEC 7812-1, annex B)."""
    doubled = (int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def is_gtin(digits: str) -> bool:
    """Check digit of a GTIN-8, -12 (UPC), -13 (EAN) or -14 (GS1 General Specifications 7.9)."""
    if len(digits) not in (8, 12, 13, 14) or not digits.isdigit():
        return False
    weighted = (int(digit) * (1 if place % 2 == 0 else 3) for place, digit in enumerate(reversed(digits)))
    return sum(weighted) % 10 == 0


def is_iban(text: str) -> bool:
    """Check digits of an international bank account number (ISO 13616, mod 97)."""
    if not 15 <= len(text) <= 34:
        return False
    return int("".join(str(int(sign, 36)) for sign in text[4:] + text[:4])) % 97 == 1


def _cards(text: str) -> Iterator[re.Match[str]]:
    for match in _CARD.finditer(text):
        digits = match[0].replace(" ", "").replace("-", "")
        if not (_is_card_number(digits) and passes_luhn(digits)) or is_gtin(digits):
            continue
        before = text[max(0, match.start() - CONTEXT_CHARACTERS) : match.start()]
        if digits != match[0] or not _NAMED_NUMBER.search(before):
            yield match


def _addresses(text: str) -> Iterator[re.Match[str]]:
    """IP addresses of machines that somebody may sit at; not versions, loopback or unspecified addresses."""
    for match in _IPV4.finditer(text):
        before = text[max(0, match.start() - CONTEXT_CHARACTERS) : match.start()]
        if _octets_fit(match[0]) and not _VERSION.search(before):
            address = ipaddress.IPv4Address(match[0])
            # 1.2.3.4 is more often a section or a version; an address that nobody calls one has a larger part.
            plain = max(address.packed) <= LARGEST_OF_VERSION and not _CALLED_IP.search(before)
            if not (plain or address.is_loopback or address.is_multicast or address.packed[0] in (0, 255)):
                yield match
    for match in _IPV6.finditer(text):
        if match[0].count(":") == 7 or "::" in match[0]:
            try:
                address6 = ipaddress.IPv6Address(match[0])
            except ValueError:
                continue
            if not (address6.is_loopback or address6.is_multicast or address6.is_unspecified):
                yield match


def _octets_fit(text: str) -> bool:
    return all(int(part) <= 255 and (part == "0" or part[0] != "0") for part in text.split("."))


def _is_card_number(digits: str) -> bool:
    """Whether first digits and length are those of a card brand; 13-digit numbers are EANs here."""
    two, four = int(digits[:2]), int(digits[:4])
    match len(digits):
        case 14:
            return two in (36, 38) or 3000 <= four <= 3059
        case 15:
            return two in (34, 37)
        case 16:
            return (
                digits[0] == "4"
                or 51 <= two <= 55
                or 2221 <= four <= 2720
                or four == 6011
                or two in (62, 65)
                or 3528 <= four <= 3589
            )
        case 17 | 18:
            return two == 62
        case 19:
            return two == 62 or digits[0] == "4"
    return False


def _digit_count(text: str) -> int:
    return sum(sign.isdigit() for sign in text)
