"""The sign-in pages: small, self-contained, light and dark, narrow and wide."""

import base64
import hashlib
from html import escape
from pathlib import Path

_STYLE = """
:root{color-scheme:light dark;--page:#f8f9fa;--card:#fff;--text:#1f2937;--soft:#4b5563;--line:#d5dae1;--bad:#b91c1c}
@media(prefers-color-scheme:dark){:root{--page:#111827;--card:#1f2937;--text:#f3f4f6;--soft:#cbd5e1;--line:#4b5563;--bad:#fca5a5}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:16px;background:var(--page);color:var(--text);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{width:100%;max-width:400px;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:32px 24px}
form{margin:0}
form+p{margin:16px 0 0}
h1{font-size:24px;line-height:32px;margin:0 0 8px}
p{margin:0 0 16px;color:var(--soft)}
.mark{display:flex;gap:8px;align-items:center;font-weight:600;margin:0 0 24px;color:var(--text)}
.mark img{width:32px;height:32px;border-radius:8px}
label{display:block;font-weight:600;margin:0 0 16px}
input{display:block;width:100%;margin-top:8px;padding:8px 12px;font:inherit;color:inherit;background:var(--page);
border:1px solid var(--line);border-radius:8px;min-height:44px}
button{width:100%;min-height:44px;padding:8px 16px;font:inherit;font-weight:600;color:#fff;background:#2563eb;border:0;
border-radius:8px;cursor:pointer}
button:hover{background:#1d4ed8}
:focus-visible{outline:3px solid #93c5fd;outline-offset:2px}
.bad{color:var(--bad);font-weight:600}
a{color:inherit}
"""
_ICON_FILE = Path(__file__).parent / "ui" / "assets" / "icon.png"
_ICON = f"data:image/png;base64,{base64.b64encode(_ICON_FILE.read_bytes()).decode()}"
# The link's page sends its form by itself; a program that only fetches the page (a preview) uses nothing up.
_SEND = "document.getElementById('go').requestSubmit()"


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


PAGE_POLICY = (
    f"default-src 'none'; style-src {_source(_STYLE)}; script-src {_source(_SEND)}; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def password_page(problem: str = "", email: str = "") -> str:
    """The form for e-mail and password."""
    told = f'<p class="bad" role="alert">{escape(problem)}</p>' if problem else ""
    return _page(
        "Sign in",
        f"""<h1>Sign in</h1>
{told or "<p>With your e-mail address and password, or by a sign-in link that an administrator makes for you.</p>"}
<form method="post" action="/sign-in">
<label>E-mail<input name="email" type="email" autocomplete="username" required maxlength="254" autofocus
value="{escape(email, quote=True)}"></label>
<label>Password<input name="password" type="password" autocomplete="current-password" required maxlength="1024"></label>
<label>Workspace <small>(only if you have several)</small><input name="workspace" autocomplete="organization"
maxlength="60"></label>
<button>Sign in</button>
</form>
<p>No password yet? On the machine itself, <code>python -m app users link EMAIL</code> prints a sign-in link.</p>""",
    )


def link_page(token: str) -> str:
    """Sends itself on, so that only a browser, and not a preview of the link, uses the link up."""
    return _page(
        "Signing in",
        f"""<h1>Sign in</h1>
<p>This link signs you in once.</p>
<form id="go" method="post" action="/sign-in/link">
<input type="hidden" name="token" value="{escape(token, quote=True)}">
<button>Continue</button>
</form>
<script>{_SEND}</script>""",
    )


def spent_page(what: str, why: str, next_step: str) -> str:
    """For a link that does not work (any more)."""
    return _page(
        "Sign in",
        f"""<h1>{escape(what)}</h1>
<p>{escape(why)}</p>
<p>{escape(next_step)} If you are signed in already, <a href="/">go to the console</a>.</p>
<form method="get" action="/sign-in"><button>Sign in with a password</button></form>""",
    )


def _page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="robots" content="noindex"><link rel="icon" href="data:,"><title>{escape(title)} · RMN LoRA</title>
<style>{_STYLE}</style></head>
<body><main><p class="mark"><img alt="" src="{_ICON}">RMN LoRA</p>
{body}
</main></body></html>"""
