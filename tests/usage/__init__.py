"""What is added up from the log, and what is found in the runs table."""
