"""Words that reports write for RMIS's closed lists: «TBLT» is a tablet, «PLA» a sponsored product."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from types import MappingProxyType

from core.harmonize.suggest.tokens import fold, split_name
from core.rmis.facts import FACT_BY_NAME

#: RMIS column → RMIS word → how reports write it; «~» before a part that may stand anywhere in the value.
_WRITTEN = {
    "device": {
        "tablet": "tablet tblt tab ipad tablets ~tablet",
        "app": "app inapp mobileapp iosapp androidapp iphoneapp nativeapp application ~mobileapp ~inapp apps ios android",
        "tv": "tv ctv connectedtv ott smarttv settopbox streaming gameconsole console ~connectedtv ~televis tvscreens",
        "mobile": "mobile phone smartphone cellphone phon mob mobileweb mweb mobilephone handset cell highendmobile movil"
        " cellulare mobilephones mobiledevice msite wap mobil handy celular smartphones telefon ~smartphone ~mobile ~phone m"
        " мобильные",
        "desktop": "desktop desk pc web computer computers laptop desktops personalcomputer website desktopweb site"
        " ordinateur escritorio rechner komputer desktopslaptops d online browser ~desktop ~computer десктоп",
        "kiosk": "kiosk terminal ~kiosk",
    },
    "match_type": {
        "exact": "exact exactmatch exakt exacte exacta esatta e ex exactphrase ~exact",
        "phrase": "phrase phrasematch wortgruppe expression frase p ph ~phrase",
        "broad": "broad broadmatch modifiedbroad bmm weitgehend large amplia broadmatchmodified b br ~broad",
        "auto": "auto automatic automatisch closematch loosematch substitutes complements automatictargeting"
        " targetingexpressionpredefined autotargeting smart ~automatic ~autotarget",
    },
    "cost_model": {
        "vcpm": "vcpm viewablecpm cpmv costperthousandviewableimpressions ecvpm",
        "cpc": "cpc costperclick ppc click clicks perclick klick costperclicks linkclicks ~costperclick",
        "cpm": "cpm costpermille impression impressions perimpression costperthousand tkp costperthousandimpressions"
        " ~costperthousand ~cpm",
        "cpa": "cpa cpo cps costperaction costperorder costperacquisition costpersale order commission conversion"
        " action costperconversion ~costperacq",
        "flat": "flat flatfee fixed fixedfee fixedprice sponsorship tenancy flatrate cpd costperday festpreis ~flat",
    },
    "channel": {
        "onsite": "onsite on site owned ownedandoperated oando retailersite onplatform onnetwork ~onsite",
        "offsite": "offsite off external extended offplatform audienceextension openweb thirdparty offnetwork ~offsite",
        "instore": "instore store offline physical dooh kiosk ~instore",
    },
    "event_type": {
        "impression": "impression impressions imp imps impr adimpression render adrender adserved show shown display"
        " adview viewableimpression einblendung ~impression",
        "click": "click clicks clk adclick tap clickthrough klick ~click",
        "add_to_cart": "addtocart addedtocart atc cart addcart basket addtobasket addtobag cartadd ~addtocart"
        " ~addedtocart ~basket",
        "purchase": "purchase purchases order ordered conversion sale transaction buy checkout orderplaced"
        " purchased conversions checkoutcomplete kauf productpurchased ~purchase ~orderconfirm",
        "view": "view pageview productview detailpageview dpv viewitem productviewed viewcontent pdpview itemview"
        " detailview ~pageview ~productview",
        "video_start": "videostart start videostarted videobegin ~videostart",
        "video_complete": "videocomplete complete videocompleted videocompletion completion ~videocomplete",
    },
    "placement_type": {
        "sponsored_product": "sponsoredproduct sponsoredproducts sp spa pla productlistingad productad productads"
        " sponsoredproductad sponsoredsearch sponsoredlisting sponsoredlistings promotedlisting promotedproduct plp"
        " promotedproducts productlistingads sponsoredproductads nativeproduct ~sponsoredproduct ~promotedproduct"
        " ~productlisting ~promotedlisting",
        "sponsored_brand": "sponsoredbrand sponsoredbrands sb sba brandad brandads hsa headlinesearch headline"
        " sponsoredbrandad brandamplifier sponsoredbrandsvideo ~sponsoredbrand ~brandad ~brandamp",
        "sponsored_display": "sponsoreddisplay sd sponsoreddisplayad ~sponsoreddisplay",
        "offsite_display": "offsitedisplay offsite audienceextension ~offsitedisplay programmaticdisplay",
        "ctv": "ctv streamingtv stv ott connectedtv sponsoredtv st tvads ~streamingtv ~connectedtv ~ctv",
        "video": "video videoad olv onlinevideo videoads sponsoredvideo instream ~video",
        "audio": "audio audioad audioads podcast ~audio",
        "instore": "instore dooh digitaloutofhome kiosk instorescreen ~instore ~dooh",
        "onsite_display": "onsitedisplay display displayad displayads banner bannerad bannerads displaybanner billboard"
        " leaderboard skyscraper ~onsitedisplay ~display ~banner",
        "unknown": "unknown other notset na none unspecified",
    },
}
_SIGNS = re.compile(r"[\W_]+")
_DENIES = frozenset({"not", "non", "no", "without", "except", "excluding", "excluded", "other"})
_JOINS = re.compile(r"[&+/,;|]|\b(?:and|or|und|oder|y|et|e)\b", re.IGNORECASE)


@lru_cache(maxsize=1)
def _tables() -> MappingProxyType[str, tuple[dict[str, str], tuple[tuple[str, str], ...]]]:
    """RMIS column → (whole values, parts of values in order)."""
    tables = {}
    for target, words in _WRITTEN.items():
        whole: dict[str, str] = {_bare(word): word for word in FACT_BY_NAME[target].words}
        parts: list[tuple[str, str]] = []
        for word, written in words.items():
            for each in written.split():
                if each.startswith("~"):
                    parts.append((each[1:], word))
                else:
                    whole.setdefault(_bare(each), word)
        tables[target] = (whole, tuple(parts))
    return MappingProxyType(tables)


def _bare(text: str) -> str:
    return _SIGNS.sub("", fold(text).casefold())


def closed_targets() -> tuple[str, ...]:
    """RMIS columns of a closed list whose words are known here."""
    return tuple(_WRITTEN)


def closed_word(target: str, value: str, *, only_whole: bool = False) -> str | None:
    """The RMIS word that a value of a report means, or None where it is not known for sure.

    A part counts where a word of the value begins with it («Mobile Web», never «headphones»). What denies a part, or
    joins parts that mean different words («mobile and desktop»), is not known. `only_whole`: no parts at all.
    """
    whole, _ = _tables()[target]
    bare = _bare(value)
    if bare in whole or only_whole:
        return whole.get(bare)
    if _DENIES & set(split_name(value)):
        return None
    joined = [_part_word(target, split_name(each)) for each in _JOINS.split(value)]
    found = {word for word in joined if word is not None}
    if len(joined) > 1 and len(found) != 1:
        return None
    return _part_word(target, split_name(value))


def _part_word(target: str, words: Sequence[str]) -> str | None:
    """The first known part with which a run of words begins."""
    runs = ["".join(words[start:]) for start in range(len(words))]
    parts = _tables()[target][1]
    return next((word for part, word in parts if any(run.startswith(part) for run in runs)), None)


def known_share(target: str, values: Iterable[str], *, whole: bool = False) -> float:
    """Share of different values whose RMIS word is known."""
    found = [closed_word(target, value, only_whole=whole) is not None for value in values]
    return sum(found) / len(found) if found else 0.0


def word_map(target: str, values: Iterable[str]) -> dict[str, str | None]:
    """Source value → RMIS word; None for values that a person must decide."""
    return {value: closed_word(target, value) for value in values}
