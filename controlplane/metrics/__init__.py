"""What Prometheus is shown: counters and histograms of all processes of this host, and the newest readings."""
