"""Forms for pages of our own: unfold's look, services' errors on the right field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from unfold import widgets

from tenants.admin.base import ControlPlaneAdmin
from tenants.exceptions import ControlPlaneError
from tenants.recent import ask_first

_CLASSES: list[tuple[type[forms.Widget], list[str]]] = [
    (forms.CheckboxSelectMultiple, widgets.CHECKBOX_CLASSES),
    (forms.CheckboxInput, widgets.CHECKBOX_CLASSES),
    (forms.Select, widgets.SELECT_CLASSES),
    (forms.Textarea, [*widgets.INPUT_CLASSES, "appearance-none"]),
    (forms.Widget, widgets.INPUT_CLASSES),
]
_TEMPLATES = {forms.Select: "unfold/widgets/select.html"}


class PageForm(forms.Form):
    """A form whose widgets look like unfold's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            classes = next(names for kind, names in _CLASSES if isinstance(field.widget, kind))
            field.widget.attrs["class"] = " ".join(classes)
            field.widget.attrs.setdefault("autocomplete", "off")
            for kind, template in _TEMPLATES.items():
                if type(field.widget) is kind:
                    field.widget.template_name = template

    @property
    def multiple_choices(self) -> set[str]:
        """Fields that are a list of check boxes, which the page lays out differently."""
        return {name for name, field in self.fields.items() if isinstance(field.widget, forms.CheckboxSelectMultiple)}


class LabelsField(forms.CharField):
    """Labels as people type them: one `key=value` a line."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("widget", forms.Textarea(attrs={"rows": 3, "placeholder": "team=core\nregion=eu"}))
        kwargs.setdefault("help_text", "One key=value a line.")
        super().__init__(required=False, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        """A mapping as lines; what somebody typed as it is."""
        return "\n".join(f"{key}={text}" for key, text in value.items()) if isinstance(value, dict) else value

    def to_python(self, value: Any) -> Any:
        """The lines as a mapping."""
        labels: dict[str, str] = {}
        for line in filter(None, map(str.strip, (super().to_python(value) or "").splitlines())):
            key, sign, text = line.partition("=")
            if not sign:
                raise forms.ValidationError(f"“{line[:40]}” is not of the form key=value.")
            if key.strip() in labels:
                raise forms.ValidationError(f"The key “{key.strip()[:40]}” is there twice.")
            labels[key.strip()] = text.strip()
        return labels

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether the lines say something else than the mapping."""
        try:
            return bool(self.to_python(data) != (initial or {}))
        except forms.ValidationError:
            return True


class ReasonForm(PageForm):
    """Why something is done; it goes into the audit log."""

    reason = forms.CharField(
        required=False, max_length=500, help_text="Goes into the audit log.", widget=forms.Textarea(attrs={"rows": 2})
    )


def show_error(form: forms.Form, error: ControlPlaneError, fields: dict[str, str] | None = None) -> None:
    """Put a service's refusal where it belongs: its own field, the one that `fields` names for its code, or the top."""
    wanted = getattr(error, "field", None) or (fields or {}).get(error.code)
    form.add_error(wanted if wanted in form.fields else None, str(error))


def form_page(
    admin: ControlPlaneAdmin,
    request: HttpRequest,
    form_class: Callable[..., forms.Form],
    perform: Callable[[dict[str, Any]], HttpResponse],
    *,
    title: str,
    submit: str,
    obj: Any = None,
    initial: dict[str, Any] | None = None,
    error_fields: dict[str, str] | None = None,
    danger: bool = False,
    confirm: bool = False,
    template: str = "tenants/admin/form.html",
    **context: Any,
) -> HttpResponse:
    """A page with one form: shown, validated, and handed to `perform`, whose refusal comes back as form errors.

    With `confirm` the person's password (and code) must have been given within the last five minutes.
    """
    if confirm and (asked := ask_first(request)):
        return asked
    form = form_class(request.POST if request.method == "POST" else None, initial=initial or {})
    if request.method == "POST" and form.is_valid():
        try:
            return perform(form.cleaned_data)
        except ControlPlaneError as error:
            show_error(form, error, error_fields)
    return admin.page(request, template, title=title, obj=obj, form=form, submit_label=submit, danger=danger, **context)
