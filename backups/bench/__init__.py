"""What `manage.py bench_backups` measures, and on what."""
