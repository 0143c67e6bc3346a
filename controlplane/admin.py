"""Beat's schedules, in unfold's look; only who may change them may run or switch them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.forms.models import model_to_dict
from django.http import HttpRequest
from django_celery_beat.admin import (
    CrontabScheduleAdmin as BeatCrontabScheduleAdmin,
)
from django_celery_beat.admin import (
    PeriodicTaskAdmin as BeatPeriodicTaskAdmin,
)
from django_celery_beat.admin import PeriodicTaskForm, TaskSelectWidget
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from tenants.admin.audited import AuditedAdmin

# No task of ours runs at sunset or once.
for unused in (ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule):
    admin.site.unregister(unused)


class ScheduleAdmin(AuditedAdmin):
    """A row of beat's own."""

    def facts(self, row: Model) -> dict[str, Any]:
        """All its fields."""
        return {name: value if value is None else str(value) for name, value in model_to_dict(row).items()}

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Looking does not include running."""
        return super().get_actions(request) if self.has_change_permission(request) else {}


class _TaskSelect(UnfoldAdminSelectWidget, TaskSelectWidget):
    """Task names to choose from."""


class _TaskForm(PeriodicTaskForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "task" in self.fields:
            self.fields["task"].widget = UnfoldAdminTextInputWidget()
            self.fields["regtask"].widget = _TaskSelect()


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(BeatPeriodicTaskAdmin, ScheduleAdmin):
    """What beat does, and how often."""

    kind = "schedule"
    form = _TaskForm
    change_form_template = None
    date_hierarchy = None
    list_display = ("name", "enabled", "scheduler", "last_run_at", "total_run_count")
    list_filter = ("enabled",)
    fieldsets = (
        (None, {"fields": ("name", "regtask", "task", "enabled", "description")}),
        ("Schedule", {"fields": ("interval", "crontab", "start_time", "last_run_at", "one_off")}),
        ("Arguments", {"fields": ("args", "kwargs", "expires", "expire_seconds", "queue")}),
    )
    readonly_fields = ("last_run_at",)


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(ScheduleAdmin):
    """Every so often."""

    kind = "interval"


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(BeatCrontabScheduleAdmin, ScheduleAdmin):
    """At these times."""

    kind = "crontab"
    inlines = ()
