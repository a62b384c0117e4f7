"""The dashboards, as Python that writes Grafana's JSON."""
