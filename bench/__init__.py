"""Benchmarks: run by hand, or by CI in a short mode as a smoke test. Never timed assertions."""
