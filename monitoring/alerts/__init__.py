"""Rules over figures, what they find, and who is told."""
