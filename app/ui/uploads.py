"""How much a browser may hand over. Such a file lies in memory; larger ones go through the API or the command line."""

from app.ui.visit import Visit

#: Above this the upload box of Streamlit rounds to whole gigabytes, and would promise more than there is.
MOST_IN_BROWSER_MB = 500


def browser_limit_mb(visit: Visit) -> int:
    """The largest file that an upload box takes, in MB."""
    return min(visit.console.settings.upload_limit_mb, MOST_IN_BROWSER_MB)


def limit_words(visit: Visit) -> str:
    """The same as a sentence, with the way for larger files where there is one."""
    here, most = browser_limit_mb(visit), visit.console.settings.upload_limit_mb
    larger = f"; up to {most} MB through the API or the command line" if most > here else ""
    return f"At most {here} MB{larger}."
