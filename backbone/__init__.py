"""One frozen base model, many adapters on it: loading, tokens, hidden states, log-probabilities, sampling.

What is trained, and with which loss, is the job of `reward_model` and `policy`.
"""

import logging

# transformers imports bitsandbytes wherever it is installed. It then tells of kernels to download, and in int8 it warns
# at every product that activations are rounded.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
