"""Tests of the benchmark itself: that it measures what it says. None asserts a speed."""
