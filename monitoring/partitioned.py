"""A migration's operation for a model whose table is partitioned by `taken_at`, which Django cannot say."""

from __future__ import annotations

from typing import Any

from django.db import migrations


class CreatePartitionedModel(migrations.CreateModel):
    """CREATE TABLE … PARTITION BY RANGE (taken_at), with the model's columns, key and indexes."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Without any partition: `monitoring.partitions` makes them."""
        model = to_state.apps.get_model(app_label, self.name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            statement, params = schema_editor.table_sql(model)
            schema_editor.execute(f"{statement} PARTITION BY RANGE (taken_at)", params or None)
            schema_editor.deferred_sql.extend(schema_editor._model_indexes_sql(model))
