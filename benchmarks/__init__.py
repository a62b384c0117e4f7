"""Side-by-side measurements of the product against its peers, on one machine and in one run.

`python -m benchmarks NAME` runs one. Figures of this package are ratios of two sides that took
turns; it holds no absolute goals and no code that the product needs.
"""
