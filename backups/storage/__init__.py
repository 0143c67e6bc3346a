"""Where backups are kept."""
