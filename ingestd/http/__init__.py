"""HTTP for every API: one exchange at a time, with proof of how much was sent, and the secrets it needs.

Foreign exceptions end here: a lost connection is a value that says whether the request can have arrived.
"""
