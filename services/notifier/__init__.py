"""The notifier: turns events into what people and machines asked to hear, beginning with Server-Sent Events."""
