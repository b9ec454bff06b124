from __future__ import annotations

from typing import Any

from tests.ui.samples.forms import InviteForm, SignInForm, submit

PLAIN_PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "sign_in": ("account/login.html", {"form": SignInForm()}),
    "sign_in_wrong": ("account/login.html", {"form": submit(SignInForm, {"login": "nobody"})}),
    "sign_out": ("account/logout.html", {}),
    "password_reset": ("account/password_reset.html", {"form": InviteForm()}),
    "password_reset_done": ("account/password_reset_done.html", {}),
    "password_inactive": ("account/account_inactive.html", {}),
    **{f"error_{name}": (f"{name}.html", {}) for name in ("400", "403", "404", "500", "403_csrf")},
}
