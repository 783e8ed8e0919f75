"""What watches Headgate from outside, as code: Grafana dashboards, and the alert rules in the forms that are wanted.

`python -m monitoring` writes what is made here into `k8s/components/monitoring`, where it is committed.
"""
