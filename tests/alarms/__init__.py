"""The alarms and the dashboard, judged by Prometheus' own programs: `make test-alarms`."""
