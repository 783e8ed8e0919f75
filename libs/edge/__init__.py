"""What both HTTP edges (gateway and notifier) share: callers, routes, problems, event streams."""
