"""A Django app that lives in each tenant's schema: what `import_template --django` is tested with."""
