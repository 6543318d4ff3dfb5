"""The mathematics of policy-gradient algorithms, as pure functions on tensors, and the table that puts them together.

Models, sampling and files are the other rooms' job. What tensors can do is asked of the tensors themselves (`x.exp()`),
so that a configuration knows the algorithms' names without loading torch.
"""
