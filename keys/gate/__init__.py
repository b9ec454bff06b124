"""The data plane: answers uses in batches, with the decision function and the record of the web's own door.

Must never cache what a decision is made from, and never answer before the record of the answer is committed.
"""
