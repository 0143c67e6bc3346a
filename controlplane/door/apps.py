from django.apps import AppConfig


class DoorConfig(AppConfig):
    name = "controlplane.door"
    label = "door"
    verbose_name = "Sign-in"
    default_auto_field = "django.db.models.BigAutoField"
