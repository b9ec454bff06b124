"""The page before a change: says what will happen and to whom, asks, calls one operation, goes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

from django.contrib import messages
from django.shortcuts import redirect

from byok_portal.boundary import binding
from byok_portal.boundary.pages import OperationPage

if TYPE_CHECKING:
    from django.forms import Form
    from django.http import HttpRequest, HttpResponse, QueryDict

TEMPLATE: Final = "keys/confirm.html"
Thing = TypeVar("Thing")


class AskingPage(OperationPage, Generic[Thing]):
    """Base: subclasses find the thing, say the words and make the call. Words may name parts of `words`."""

    danger: ClassVar[bool] = False
    verb: ClassVar[Any]
    title: ClassVar[Any] = ""
    """What the page is called when it is not the verb."""
    button: ClassVar[Any] = ""
    """What the button says when it is not the verb."""
    crumb: ClassVar[Any] = ""
    """What the breadcrumb says when it is not the button's word."""
    done: ClassVar[Any]

    def find(self, **where: Any) -> Thing:
        """What is changed, by the parts of the address. Raises NotFound."""
        raise NotImplementedError

    def form_for(self, thing: Thing, data: QueryDict | None = None) -> Form:
        """What is asked."""
        raise NotImplementedError

    def call(self, thing: Thing, form: Form) -> object:
        """The operation; its answer is not None."""
        raise NotImplementedError

    def effects(self, thing: Thing) -> list[tuple[str, str]]:
        """(level, text) of what will happen."""
        raise NotImplementedError

    def words(self, thing: Thing) -> dict[str, Any]:
        """What the words name."""
        raise NotImplementedError

    def back(self, thing: Thing) -> str:
        """Where it leads, done or not."""
        raise NotImplementedError

    def after(self, thing: Thing, result: object) -> str:  # for subclasses
        """Where it leads once it is done."""
        return self.back(thing)

    def trail(self, thing: Thing, last: str) -> list[tuple[str, str]]:
        """The breadcrumbs."""
        raise NotImplementedError

    def affected(self, thing: Thing) -> list[dict[str, str]]:  # for subclasses
        """{name, kind, note} of whom it concerns."""
        return []

    def lede(self, thing: Thing) -> str:  # for subclasses
        """A sentence below the title."""
        return ""

    def more(self, thing: Thing) -> dict[str, Any]:  # for subclasses
        """What else the page shows."""
        return {}

    def get(self, request: HttpRequest, **where: Any) -> HttpResponse:
        """What will happen."""
        found = self.find(**where)
        return self.answer(found, self.form_for(found))

    def post(self, request: HttpRequest, **where: Any) -> HttpResponse:
        """Make the change, or show the form again with what was wrong."""
        with binding.reading():
            found = self.find(**where)
            form = self.form_for(found, request.POST)
        if not form.is_valid():
            return self.answer(found, form, status=422)
        result = self.attempt(form, lambda: self.call(found, form))
        if result is None:
            return self.answer(found, form, status=self.status)
        messages.success(request, str(self.done) % self.words(found))
        return redirect(self.after(found, result))

    def answer(self, thing: Thing, form: Form, *, status: int = 200) -> HttpResponse:
        """The page with its form."""
        with binding.reading():
            names = self.words(thing)
            verb = str(self.button or self.verb) % names
            context = {
                "crumbs": self.trail(thing, str(self.crumb) or verb),
                "title": str(self.title or self.verb) % names,
                "lede": self.lede(thing),
                "danger": self.danger,
                "effects": [{"level": level, "text": text} for level, text in self.effects(thing)],
                "affected": self.affected(thing),
                "form": form,
                "submit_label": verb,
                "cancel_url": self.back(thing),
                **self.more(thing),
            }
        return self.render(TEMPLATE, context, status=status)
