"""The look: enough contrast in light and dark, enough chart colours, nothing fetched from elsewhere."""

import tomllib

import pytest
from PIL import Image

from core.settings import PROJECT_ROOT

CONFIG = tomllib.loads((PROJECT_ROOT / ".streamlit" / "config.toml").read_text())
THEME = CONFIG["theme"]
COLORS = ("green", "orange", "yellow", "red", "blue", "violet", "gray")


def luminance(color: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_and_buttons_keep_the_contrast_that_people_need(mode: str) -> None:
    theme = THEME[mode]
    assert contrast(theme["primaryColor"], "#ffffff") >= 4.5
    assert contrast(theme["textColor"], theme["backgroundColor"]) >= 7
    assert contrast(theme["linkColor"], theme["backgroundColor"]) >= 4.5
    for color in COLORS:
        pair = (theme[f"{color}TextColor"], theme[f"{color}BackgroundColor"])
        assert contrast(*pair) >= 4.5, (mode, color)


def test_the_sidebar_is_dark_in_both_modes_and_readable() -> None:
    sidebar = THEME["sidebar"]
    assert sidebar["backgroundColor"] == "#1f2937"
    assert contrast(sidebar["textColor"], sidebar["backgroundColor"]) >= 7


def test_charts_have_ten_colours_or_plotly_would_use_its_own() -> None:
    assert len(set(THEME["chartCategoricalColors"])) >= 10
    assert len(set(THEME["dark"]["chartCategoricalColors"])) >= 10


def test_nothing_is_sent_or_fetched_and_no_detail_of_an_error_is_shown() -> None:
    assert CONFIG["browser"]["gatherUsageStats"] is False
    assert CONFIG["client"]["showErrorDetails"] == "none"
    assert CONFIG["client"]["disableDataExport"] is True
    assert CONFIG["server"]["enableAgentApi"] is False
    assert CONFIG["server"]["address"] == "127.0.0.1"
    assert "http" not in (PROJECT_ROOT / ".streamlit" / "config.toml").read_text()


@pytest.mark.parametrize("name", ["icon.png", "wordmark.png"])
def test_the_logo_is_a_small_local_picture(name: str) -> None:
    path = PROJECT_ROOT / "app" / "ui" / "assets" / name
    assert path.stat().st_size < 20_000
    with Image.open(path) as picture:
        assert picture.format == "PNG"
