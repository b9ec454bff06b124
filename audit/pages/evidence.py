"""The page of the export: what it is, what it would hold now, the ZIP, and the program that checks it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.conf import settings
from django.db import connections
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from audit import exports, proofs, selectors
from audit.api.proofs import download
from audit.models import Entry
from audit.pages.proving import attach
from audit.services import disclosing
from byok_portal.boundary import binding
from byok_portal.boundary.pages import TenantPage
from byok_portal.boundary.permissions import Permission

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from audit.models import Checkpoint

VERIFIER: Final = Path(__file__).resolve().parents[1] / "byok_verify" / "byok_verify.py"
COMMAND: Final = "python3 byok_verify.py EXPORT.zip --log-key log.vkey"
SAMPLE: Final = 200
"""Newest entries whose mean length stands for all of them; the rest of the ZIP has about `FIXED` bytes."""
FIXED: Final = 4096
_COVERED: Final = "SELECT tseq FROM audit_entry WHERE tenant_id = %s AND idx < %s ORDER BY tseq DESC LIMIT 1"


class ExportForm(forms.Form):
    """The head that the tenant kept, as a file or as text; the file counts when both are there."""

    kept_file = forms.FileField(
        required=False,
        label=gettext_lazy("head.tlog-proof of an older export"),
        widget=forms.FileInput(attrs={"class": "input"}),
    )
    since = forms.CharField(
        required=False,
        max_length=exports.KEPT_MAX,
        strip=False,
        label=gettext_lazy("Or paste it"),
        widget=forms.Textarea(attrs={"class": "input area mono", "rows": 5, "spellcheck": "false"}),
    )

    def clean(self) -> dict[str, Any]:
        """`kept`: the text of either, with the line ends that were signed (a browser posts CRLF)."""
        values = super().clean() or {}
        text = values.get("since") or ""
        if upload := values.get("kept_file"):
            text = upload.read(exports.KEPT_MAX + 1).decode("utf-8", "replace")
        text = text.replace("\r\n", "\n")
        kept = f"{text.strip()}\n" if text.strip() else ""
        return {**values, "kept": kept}


class ExportPage(TenantPage):
    """Everything that an outsider needs, in one file."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ
    section: ClassVar[str] = "audit"

    def get(self, request: HttpRequest) -> HttpResponse:  # Django's signature
        """What the export would hold now."""
        return self._show(ExportForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Record the export and stream the ZIP. A head that this log did not sign is named on the form."""
        form = ExportForm(request.POST, request.FILES)
        if form.is_valid():
            export = self.attempt(form, lambda: disclosing.export(actor=self.actor, kept=form.cleaned_data["kept"]))
            if export is not None:
                answer: Any = download(export)
                return answer  # type: ignore[no-any-return]  # a streamed answer is an HttpResponseBase
        with binding.reading():
            return self._show(form, status=self.status if self.problem else 422)

    def _show(self, form: ExportForm, *, status: int = 200) -> HttpResponse:
        slug, pruned, checkpoint = self.place.slug, selectors.find_pruned_head(), proofs.find_checkpoint()
        after = pruned.tseq if pruned else 0
        count = _count(checkpoint, after)
        context: dict[str, Any] = {
            "crumbs": [(_("Audit log"), reverse("audit:list", args=[slug])), (_("Export"), "")],
            "form": form,
            "count": count,
            "bytes": _estimate(count, after),
            "pruned": after,
            "checkpoint": checkpoint if count else None,
            "keys": settings.LOG_VKEY.strip(),
            "witness_keys": settings.WITNESS_VKEY.strip(),
            "command": COMMAND + (" --witness-key witness.vkey" if settings.WITNESS_VKEY.strip() else ""),
            "verifier_url": reverse("audit:verifier", args=[slug]),
        }
        return self.render("audit/export.html", context, status=status)


class VerifierFile(TenantPage):
    """The program that checks an export: one file without dependencies."""

    permission: ClassVar[Permission] = Permission.AUDIT_READ
    section: ClassVar[str] = "audit"
    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:  # Django's signature
        """The file as it is in this release."""
        return attach(VERIFIER.read_bytes(), "byok_verify.py", "text/x-python; charset=utf-8")


def _count(checkpoint: Checkpoint | None, after: int) -> int:
    """How many entries of the tenant that are there the checkpoint covers: their numbers have no gaps."""
    if checkpoint is None:
        return 0
    with connections[binding.get_alias()].cursor() as cursor:
        cursor.execute(_COVERED, [binding.get_tenant(), checkpoint.size])
        row = cursor.fetchone()
    return int(row[0]) - after if row else 0


def _estimate(count: int, after: int) -> int:
    """About how many bytes the ZIP will have; for people, never for a header."""
    newest = Entry.objects.filter(tenant_id=binding.get_tenant(), tseq__lte=after + count).order_by("-tseq")
    lengths = [len(leaf.encode()) + 1 for leaf in newest.values_list("leaf", flat=True)[:SAMPLE]]
    return FIXED + count * sum(lengths) // max(1, len(lengths))
