"""The four processes of Headgate; none imports another."""
