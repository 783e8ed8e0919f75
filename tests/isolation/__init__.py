"""What is another workspace's, and what is secret, is nowhere it should not be."""
