from django.apps import AppConfig


class ExampleConfig(AppConfig):
    name = "tests.example_app"
    label = "example"
    default_auto_field = "django.db.models.BigAutoField"
