"""Code to paste and documents to read: they do what they say."""
