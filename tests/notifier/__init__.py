"""What people and machines outside are told: webhooks, callbacks, email."""
