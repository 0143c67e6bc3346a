from django.db import migrations


def seed(apps, schema_editor):
    tag = apps.get_model("example", "Tag")
    for name in ("new", "used"):
        tag.objects.create(name=name)


class Migration(migrations.Migration):
    dependencies = [("example", "0001_initial")]

    operations = [
        migrations.RunPython(seed, migrations.RunPython.noop),
        migrations.RunSQL(
            """
            CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';
            CREATE VIEW expensive_books AS SELECT id, shout(title) AS title FROM example_book WHERE price > 100;
            """,
            "DROP VIEW expensive_books; DROP FUNCTION shout(text);",
        ),
    ]
