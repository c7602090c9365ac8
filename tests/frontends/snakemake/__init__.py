"""Tests of the Snakemake plug-in, a distribution of its own."""
