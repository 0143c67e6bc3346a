"""The forms of the tenants' pages."""

from __future__ import annotations

from typing import Any

from django import forms

from provisioning.admin import limits
from provisioning.models import Template
from provisioning.services.additional import MAX_MINUTES
from tenants.admin.forms import LabelsField, PageForm, ReasonForm
from tenants.models import Cluster, Plan, Tenant
from tenants.models.plans import LIMITS


def _plans() -> list[tuple[str, str]]:
    return [(plan.slug, plan.name) for plan in Plan.objects.all()]


class NewTenantForm(PageForm):
    """What a new tenant is called and gets."""

    name = forms.CharField(
        max_length=120, help_text="What people call it.", widget=forms.TextInput({"autofocus": True})
    )
    slug = forms.CharField(
        max_length=40, help_text="3 to 40 characters: a-z, 0-9 and single hyphens, beginning with a letter."
    )
    plan = forms.ChoiceField()
    template = forms.ChoiceField(help_text="The newest version is used.")
    cluster = forms.ChoiceField(required=False)
    labels = LabelsField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._choose("plan", _plans(), Plan.objects.filter(is_default=True).values_list("slug", flat=True).first())
        templates = Template.objects.filter(versions__isnull=False).distinct()
        default = next((row.name for row in templates if row.is_default), None)
        self._choose("template", [(row.name, row.name) for row in templates], default)
        open_ones = Cluster.objects.filter(state=Cluster.State.ACTIVE, host_cluster=None, dedicated_to=None)
        clusters = [(row.name, f"{row.name} (reserved for one)" if row.dedicated else row.name) for row in open_ones]
        self._choose("cluster", [("", "the default one, or by the plan one of its own"), *clusters], "")

    def _choose(self, name: str, choices: list[tuple[str, str]], default: str | None) -> None:
        self.fields[name].choices = choices  # type: ignore[attr-defined]
        self.initial.setdefault(name, default)

    @property
    def missing(self) -> list[str]:
        """What must be there before a tenant can be made, and is not."""
        chosen = {name: self.fields[name].choices for name in ("plan", "template", "cluster")}  # type: ignore[attr-defined]
        return [name for name, choices in chosen.items() if len(choices) <= (name == "cluster")]


class DeleteForm(ReasonForm):
    """Deleting: typed slug, reason, and how long it can be taken back."""

    confirm_slug = forms.CharField(label="Type the slug")
    grace_days = forms.IntegerField(
        required=False, min_value=0, max_value=365, label="Grace period (days)", help_text="Empty: the plan's."
    )
    field_order = ("confirm_slug", "reason", "grace_days")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = True


class PurgeForm(ReasonForm):
    """Purging: typed slug and reason."""

    confirm_slug = forms.CharField(label="Type the slug")
    field_order = ("confirm_slug", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = True


class RotateForm(ReasonForm):
    """Rotating: how long the old login goes on."""

    overlap_minutes = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=43_200,
        label="Overlap (minutes)",
        help_text="When the old login is closed. Empty: after the plan's overlap, once it is no longer used.",
    )
    emergency = forms.BooleanField(
        required=False,
        help_text="The old login and its sessions are dead at once, whatever else is going on. Needs a reason.",
    )
    field_order = ("overlap_minutes", "emergency", "reason")


class RevealForm(ReasonForm):
    """Showing stored credentials: why."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = True


class CredentialForm(RevealForm):
    """An additional login: whose, for what, how long."""

    access = forms.ChoiceField(choices=[("read_only", "read only"), ("read_write", "read and write")])
    minutes = forms.IntegerField(
        min_value=1, max_value=MAX_MINUTES, initial=1440, label="Time (minutes)", help_text="At most 129,600: 90 days."
    )
    owner = forms.CharField(max_length=120, help_text="Who uses it.")
    field_order = ("access", "minutes", "owner", "reason")


class MigratorForm(PageForm):
    """Letting a migrator in: for how long, and why."""

    minutes = forms.IntegerField(min_value=1, max_value=1440, initial=30)
    reason = forms.CharField(
        max_length=500, help_text="Goes into the audit log.", widget=forms.Textarea(attrs={"rows": 2})
    )


class EditForm(PageForm):
    """Name, plan, labels, and where its limits differ from the plan's."""

    name = forms.CharField(max_length=120)
    plan = forms.ChoiceField()
    labels = LabelsField()
    version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, tenant: Tenant, **kwargs: Any) -> None:
        kwargs["initial"] = {
            "name": tenant.name,
            "plan": tenant.plan.slug,
            "labels": tenant.labels,
            "version": tenant.version,
            **limits.to_form(tenant.limits),
        }
        super().__init__(*args, **kwargs)
        self.fields["plan"].choices = _plans()  # type: ignore[attr-defined]
        for name, value in limits.to_form(tenant.plan.limits()).items():
            self.fields[name].widget.attrs["placeholder"] = f"{value:,} by the plan"

    @classmethod
    def with_limits(cls) -> type[EditForm]:
        """The form with a field for each limit, which its base must have before it is made."""
        fields = {name: limits.field(name, required=False, help_text="Empty: the plan's.") for name in LIMITS}
        return type("EditFormWithLimits", (cls,), fields)

    def changes(self, tenant: Tenant) -> dict[str, Any]:
        """What differs from the tenant as it is."""
        data = self.cleaned_data
        wanted = {
            "name": data["name"],
            "plan": data["plan"],
            "labels": data["labels"],
            "limits": limits.from_form(data, tenant.limits),
        }
        present = {"name": tenant.name, "plan": tenant.plan.slug, "labels": tenant.labels, "limits": tenant.limits}
        return {key: value for key, value in wanted.items() if value != present[key]}
