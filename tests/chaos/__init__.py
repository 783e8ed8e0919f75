"""What is promised, shown on a stack that is hurt or flooded; the long forms are played by `make chaos`."""
