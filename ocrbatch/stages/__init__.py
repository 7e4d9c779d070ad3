"""The stages of the pipeline, one Ray actor or task a file. Each takes and gives Arrow tables of `base.ROW` and its
payload.
"""
