"""Names of people, told by what stands before them: a title, a greeting, or a field that holds a person's name.

Retail media is full of names of brands and campaigns, so a name alone is no finding, and neither is the name of a
campaign, a product or an advertiser. A field of articles (sku, item, product id) holds a person only if it is a
frequent given name with a surname and nothing else.
"""

import re
from collections.abc import Iterator

_WORD = r"[A-ZÀ-ÖØ-ÞŁŚŻ][a-zà-öø-ÿłńśżźćąęğış]{1,20}(?:[-'’][A-ZÀ-ÖØ-Þ]?[a-zà-öø-ÿ]{1,20})?"
_NAME = rf"{_WORD}(?: (?:[A-Z]\.|van|von|de|der|di|da|dos|el|al|bin|la|le|{_WORD})){{0,3}}"
_FIELD = (
    r"(?:customer|shopper|buyer|user|client|contact|recipient|cardholder|card_?holder|account_?holder|person|employee"
    r"|patient|guest|member|subscriber|reviewer|billing|shipping|ship_to|bill_to|full|first|last|given|family|sur"
    r"|maiden|middle|delivered_to|nom|prenom|vorname|nachname)"
)
_NAMED_FIELD = re.compile(
    rf"(?:^|[^A-Za-z])(?i:{_FIELD}[ _-]?names?|{_FIELD}_?to|recipient|cardholder|vorname|nachname|prenom)"
    rf"[\"']?\s{{0,3}}[:=]\s{{0,3}}[\"']?(?P<name>{_NAME})"
)
_TITLE = re.compile(
    rf"(?<![\w.])(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Herrn?|Frau|Mme|Mlle|Monsieur|Madame|Sr|Sra|Señora?)\.? "
    rf"(?P<name>{_WORD}(?: {_WORD})*)"
)
_GREETING = re.compile(
    rf"(?:\b(?:Dear|Hi|Hello|Liebe[r]?|Cher|Chère|Estimad[oa]|[Mm]y name is|[Ii]ch heiße|[Jj]e m'appelle"
    rf"|[Mm]e llamo|[Ss]igned,|[Rr]egards,|[Ss]incerely,)\s{{1,3}})(?P<name>{_WORD} {_WORD})"
)
_ARTICLE_FIELD = re.compile(
    r"(?i:\b(?:sku|item(?:[_ ]?(?:id|name))?|product[_ ]?id|article|asin|artnum|model)[\"']?\s{0,3}[:=]\s{0,3}[\"']?)"
    r"(?P<first>[A-Za-z]{3,12})[ _.-](?P<last>[A-Z][A-Za-z]{2,20})(?=[\"',;|\n\t}]|$)"
)
#: Brands that are called after a person; their titles are part of the name.
_BRANDS_TEXT = (
    "Clean Pepper Martens Oetker Meyer Coffee Scholl Bronner Muscle Jart Beckmann Kipling Potato Brown Dre Hauschka"
    " Sheffield Tea Fields Freeze Lube Fresh Bubble Squiggles Best Right Perfect Universe Butterworth Smith's"
)
_BRANDS = frozenset(_BRANDS_TEXT.split())
_OTHERS_TEXT = (
    "Customer Customers Sir Madam Team Friend Friends Valued Shopper Guest Member Hiring Unknown None Null Test"
    " Anonymous Redacted Retailer Brand Campaign Product Store User"
)
_OTHERS = frozenset(_OTHERS_TEXT.split())
#: The most frequent given names of the United States, the United Kingdom, Germany, France and Spain since 1950.
_GIVEN_NAMES_TEXT = (
    "james robert john michael david william richard joseph thomas charles christopher daniel matthew anthony mark donald"
    " steven andrew paul joshua kenneth kevin brian george timothy ronald jason edward jeffrey ryan jacob gary nicholas"
    " eric jonathan stephen larry justin scott brandon benjamin samuel gregory alexander patrick frank raymond jack dennis"
    " jerry mary patricia jennifer linda elizabeth barbara susan jessica sarah karen lisa nancy betty margaret sandra"
    " ashley kimberly emily donna michelle carol amanda melissa deborah stephanie rebecca sharon laura cynthia dorothy amy"
    " kathleen angela shirley emma brenda pamela nicole anna samantha katherine christine debra rachel carolyn janet maria"
    " olivia heather helen catherine diane julie victoria joyce lauren kelly christina joan evelyn jane peter hans klaus"
    " wolfgang jürgen stefan andreas uwe sabine petra monika ursula claudia birgit heike susanne anja katrin jean pierre"
    " michel philippe alain nicolas marie nathalie isabelle sylvie catherine françoise josé antonio manuel francisco luis"
    " javier carlos miguel carmen ana isabel dolores pilar teresa mohammed ahmed ali fatima priya raj wei ming"
)
GIVEN_NAMES = frozenset(_GIVEN_NAMES_TEXT.split())
#: At least what the patterns above find, without looking around: for whole columns.
NAME_SCREEN = (
    rf"(?i:{_FIELD}[ _-]?names?|{_FIELD}_?to|recipient|cardholder|vorname|nachname|prenom)"
    r"[\"']?\s{0,3}[:=]\s{0,3}[\"']?\p{Lu}"
    r"|(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Herrn?|Frau|Mme|Mlle|Monsieur|Madame|Sr|Sra|Señora?)\.? \p{Lu}"
    r"|(?:Dear|Hi|Hello|Lieber?|Cher|Chère|Estimad[oa]|[Mm]y name is|[Ii]ch heiße|[Jj]e m'appelle|[Mm]e llamo"
    r"|[Ss]igned,|[Rr]egards,|[Ss]incerely,)\s+\p{Lu}"
    r"|(?i:(?:sku|item(?:[_ ]?(?:id|name))?|product[_ ]?id|article|asin|artnum|model)"
    r"[\"']?\s{0,3}[:=]\s{0,3}[\"']?[A-Z]{3,12}[ _.-][A-Z])"
)


def find_name(text: str) -> bool:
    """Whether the text names a person, as far as the words before tell."""
    return any(True for _ in name_spans(text))


def name_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where the text names a person: start and end of each name."""
    for pattern in (_NAMED_FIELD, _GREETING):
        for match in pattern.finditer(text):
            if match["name"].split()[0] not in _OTHERS:
                yield match.span("name")
    for match in _TITLE.finditer(text):
        if not _is_brand(match["name"]):
            yield match.span("name")
    for match in _ARTICLE_FIELD.finditer(text):
        if match["first"].lower() in GIVEN_NAMES:
            yield match.start("first"), match.end()


def _is_brand(name: str) -> bool:
    first = name.split(maxsplit=1)[0].removesuffix("'s").removesuffix("’s")
    return first in _BRANDS or first in _OTHERS
