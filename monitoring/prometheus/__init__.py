"""Files for Prometheus, Alertmanager and Grafana, made from the same catalogue and rules that alerts go by."""
