"""One frozen base model, many adapters on it: loading, tokens, hidden states, log-probabilities, sampling.

What is trained, and with which loss, is the job of `reward_model` and `policy`.
"""
