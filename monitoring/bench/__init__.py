"""What the benchmarks of monitoring need."""
