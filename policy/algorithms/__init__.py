"""The mathematics of policy-gradient algorithms, as pure functions on tensors, and the table that puts them together.

Models, sampling and files are the other rooms' job.
"""
