"""What makes models fast on a CPU, with the results of the plain code, which calls it and can be read without it.

The doors, and the files of `backbone` that use them:
- `fuse_lora`, `fuse_mlps`, `fuse_norms`: layers with fewer passes over memory (`adapters.py`);
- `packed`: weights laid out once for all tokens that are sampled (`sampling.py`);
- `Stream` and its attention: each prompt computed once for its responses (`hidden_states.py`, and reward training);
- `step_attention`: the attention of one decoding step (`decoding.py`).
"""
