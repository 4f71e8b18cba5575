"""The ledger of claims: what was published, what is measured here, and whether the two agree.

A claim is a row of ``claims.yaml``; `kinds` has a function for each kind of claim, `evidence` what was measured.
"""
