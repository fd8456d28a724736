"""Graphs with the true names and shapes and random weights: what stands in for the packs that no package index has.

They measure speed and memory honestly and run the whole pipeline; what they say of music means nothing. They are
installed by the same pull as the real packs, from a folder, under declarations of their own.
"""
