"""Who is told of alerts, what they were told, and the button that tries it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from unfold.decorators import display

from monitoring.admin.common import SEVERITIES, STATES
from monitoring.alerts import channels
from monitoring.models import Notification, NotificationChannel, Severity
from tenants.admin.base import ControlPlaneAdmin, ReadOnlyAdmin, View, require
from tenants.admin.display import link_to, moment
from tenants.admin.forms import PageForm, form_page
from tenants.callers import actor_of, source_of
from tenants.exceptions import ControlPlaneError
from tenants.management.lookup import find_tenant
from tenants.models import Cluster, Plan

_SECRET = forms.PasswordInput(attrs={"autocomplete": "new-password"})


class ChannelForm(PageForm):
    """What can be changed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["cluster"].queryset = Cluster.objects.all()  # type: ignore[attr-defined]
        self.fields["plan"].queryset = Plan.objects.all()  # type: ignore[attr-defined]

    enabled = forms.BooleanField(required=False, initial=True)
    recipients = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 2}), help_text="Of e-mail: an address a line."
    )
    url = forms.CharField(
        required=False, max_length=2000, widget=_SECRET, label="URL",
        help_text="Of all others. Stored encrypted, never shown. Empty: it stays.",
    )  # fmt: skip
    secret = forms.CharField(
        required=False, max_length=500, strip=False, widget=_SECRET,
        help_text="Signs a webhook; an Alertmanager's bearer token. Empty: it stays.",
    )  # fmt: skip
    min_severity = forms.ChoiceField(choices=Severity.choices, help_text="Alerts of this and worse.")
    send_resolved = forms.BooleanField(required=False, initial=True, label="Tell when it is over")
    cluster = forms.ModelChoiceField(Cluster.objects.none(), required=False, empty_label="all clusters")
    plan = forms.ModelChoiceField(Plan.objects.none(), required=False, empty_label="all plans")
    tenant = forms.CharField(required=False, max_length=64, help_text="A slug; empty: all tenants.")


class NewChannelForm(ChannelForm):
    """And what cannot be."""

    name = forms.SlugField(max_length=40)
    kind = forms.ChoiceField(choices=NotificationChannel.Kind.choices)
    field_order = ("name", "kind")


@admin.register(NotificationChannel)
class NotificationChannelAdmin(ControlPlaneAdmin):
    """Who is told of alerts."""

    empty_hint = "Add one: nobody is told of alerts."
    list_display = ("name", "kind", "where", "severity_badge", "enabled", "state", "worked")
    actions = None

    def pages(self) -> list[tuple[str, View, str]]:
        """Changing and trying."""
        return [
            ("<int:object_id>/edit/", self.edit_view, "edit"),
            ("<int:object_id>/test/", self.test_view, "test"),
        ]

    @display(description="place")
    def where(self, row: NotificationChannel) -> str:
        """Addresses, or the URL's host."""
        return ", ".join(row.recipients) or row.place

    @display(description="from", label=SEVERITIES)
    def severity_badge(self, row: NotificationChannel) -> str:
        """From which severity on."""
        return row.min_severity

    @display(description="state", label={"works": "success", "fails": "danger", "untried": "info"})
    def state(self, row: NotificationChannel) -> str:
        """How the last message fared."""
        return "fails" if row.last_error else "works" if row.worked_at else "untried"

    @display(description="worked", ordering="worked_at")
    def worked(self, row: NotificationChannel) -> Any:
        """When a message last arrived."""
        return moment(row.worked_at)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A channel's page."""
        row = self.find(request, object_id)
        sent = row.notifications.select_related("rule").annotate(count=Count("deliveries"))[:20]
        return self.page(request, "monitoring/admin/channel.html", title=row.name, obj=row, sent=sent)

    @method_decorator(sensitive_post_parameters("url", "secret"))
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Add one. Nothing is sent."""
        require(request, "monitoring.add_notificationchannel")

        def perform(data: dict[str, Any]) -> HttpResponse:
            row = channels.create_channel(
                name=data.pop("name"), kind=data.pop("kind"), url=data.pop("url"), secret=data.pop("secret"),
                values=_values(data), actor=actor_of(request), source=source_of(request),
            )  # fmt: skip
            messages.success(request, f"The channel {row} is there: try it.")
            return HttpResponseRedirect(reverse("admin:monitoring_notificationchannel_change", args=[row.pk]))

        return form_page(
            self, request, NewChannelForm, perform, title="Add a channel", submit="Add",
            error_fields={"name_taken": "name"},
            intro="Private addresses are connected to only where NOTIFY_ALLOWED_NETWORKS lists them.",
        )  # fmt: skip

    @method_decorator(sensitive_post_parameters("url", "secret"))
    def edit_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Change one."""
        require(request, "monitoring.change_notificationchannel")
        row = self.find(request, object_id)
        initial = {name: getattr(row, name) for name in channels.EDITABLE}
        initial |= {"recipients": "\n".join(row.recipients), "tenant": row.tenant.slug if row.tenant else ""}

        def perform(data: dict[str, Any]) -> HttpResponse:
            channels.update_channel(
                channel=row, url=data.pop("url"), secret=data.pop("secret"), changes=_values(data),
                actor=actor_of(request), source=source_of(request),
            )  # fmt: skip
            messages.success(request, f"The channel {row} is saved.")
            return HttpResponseRedirect(reverse("admin:monitoring_notificationchannel_change", args=[row.pk]))

        return form_page(
            self, request, ChannelForm, perform, title="Change a channel", submit="Save", obj=row, initial=initial
        )

    def test_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Send a test message now."""
        require(request, "monitoring.test_notificationchannel")
        row = self.find(request, object_id)
        if request.method == "POST":
            try:
                status = channels.test_channel(channel=row, actor=actor_of(request), source=source_of(request))
                answered = f" The server answered {status}." if status else ""
                messages.success(request, f"A test message is sent.{answered}")
            except ControlPlaneError as error:
                messages.error(request, str(error))
        return HttpResponseRedirect(reverse("admin:monitoring_notificationchannel_change", args=[row.pk]))


def _values(data: dict[str, Any]) -> dict[str, Any]:
    """What the form says, as the service takes it. Raises NotFound for an unknown tenant."""
    tenant = find_tenant(data["tenant"]) if data["tenant"] else None
    return {**data, "recipients": data["recipients"].split(), "tenant": tenant}


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    """What was sent to whom, and what could not be."""

    empty_hint = "Nothing was sent yet."
    list_display = ("rule", "channel_link", "state_badge", "count", "attempts", "created", "sent", "error")
    list_filter = ("state", "channel")
    list_select_related = ("rule", "channel")
    search_fields = ("=rule__slug", "=channel__name")
    fields = ("rule", "channel", "state", "status", "attempts", "created_at", "due_at", "sent_at", "error")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Notification]:
        """With how many alerts each tells of."""
        return super().get_queryset(request).annotate(told=Count("deliveries"))

    @display(description="channel")
    def channel_link(self, row: Notification) -> Any:
        """Who was told."""
        return link_to(row.channel)

    @display(description="state", label=STATES)
    def state_badge(self, row: Notification) -> str:
        """In its colour."""
        return row.state

    @display(description="alerts", ordering="told")
    def count(self, row: Any) -> int:
        """How many are in it."""
        return int(row.told)

    @display(description="created", ordering="created_at")
    def created(self, row: Notification) -> Any:
        """How long ago."""
        return moment(row.created_at)

    @display(description="sent", ordering="sent_at")
    def sent(self, row: Notification) -> Any:
        """How long ago, when it was."""
        return moment(row.sent_at) if row.sent_at else "–"
