"""Files, secrets and collections: through the API with everything real, and the stores by themselves."""
