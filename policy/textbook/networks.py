"""A softmax policy and a value function small enough for a textbook: embedding, one hidden layer, output.

The state of a text is its tokens so far, each in its own place; nothing is shared between places, and no text longer
than `length` can be read. For anything larger there is a language model (`language_model.py`).
"""

import torch


class StateNetwork(torch.nn.Module):
    """Tokens so far to `outputs` numbers. The output layer begins at zero: a policy uniform, a value 0 everywhere."""

    def __init__(
        self, vocabulary: int, length: int, outputs: int, embedding: int = 16, hidden: int = 64, seed: int = 0
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = torch.nn.Embedding(vocabulary, embedding)
            self.hidden = torch.nn.Linear(length * embedding, hidden)
            self.output = torch.nn.Linear(hidden, outputs)
        torch.nn.init.zeros_(self.output.weight)
        torch.nn.init.zeros_(self.output.bias)

    def forward(self, tokens: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        """tokens: (..., length) int64, ignored where `written` (..., length) is 0. Returns (..., outputs)."""
        embedded = self.embedding(tokens) * written[..., None]
        outputs: torch.Tensor = self.output(torch.tanh(self.hidden(embedded.flatten(-2))))
        return outputs


class PolicyNetwork(StateNetwork):
    """Logits of the next token, (..., vocabulary); its softmax is the policy."""

    def __init__(self, vocabulary: int, length: int, embedding: int = 16, hidden: int = 64, seed: int = 0) -> None:
        super().__init__(vocabulary, length, vocabulary, embedding, hidden, seed)


class ValueNetwork(StateNetwork):
    """The return to be expected from a state, (...)."""

    def __init__(self, vocabulary: int, length: int, embedding: int = 16, hidden: int = 64, seed: int = 0) -> None:
        super().__init__(vocabulary, length, 1, embedding, hidden, seed)

    def forward(self, tokens: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        """As `StateNetwork.forward`, of shape (...)."""
        return super().forward(tokens, written).squeeze(-1)
