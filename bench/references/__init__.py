"""Full-size CLAP towers with random weights, and mel references, made by `make references` in its own environment.

They are what speed and memory are measured on where no hub can be reached. Nothing here is imported by the tests.
"""
