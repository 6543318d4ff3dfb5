"""Q-learning and SARSA with a table of the states that were visited, for text tasks small enough to have one.

Works on `TextGenerationEnv`, wrapped or not, through Gymnasium's interface alone. Exact solutions are
in `enumeration.py`; networks, which generalise from one text to another, in `policy_gradient.py`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from foundation.errors import UserError
from foundation.files import read_json, write_json
from foundation.settings import Settings
from policy.textbook.environment import Observation, state_of
from policy.textbook.text_task import State

Floats = NDArray[np.float64]
Environment = gymnasium.Env[Observation, Any]


class TabularConfig(Settings):
    """Learning a table of action values from episodes."""

    algorithm: Literal["q-learning", "sarsa"] = Field("q-learning", description="which algorithm")
    episodes: int = Field(3000, ge=1, description="episodes in all")
    learning_rate: float = Field(1.0, gt=0, le=1, description="alpha at the first visit of a state and token")
    learning_rate_decay: float = Field(
        0.6, ge=0, le=1, description="omega: alpha falls as visits ** -omega; 0 keeps it, above 0.5 it converges"
    )
    epsilon: float = Field(1.0, ge=0, le=1, description="share of random tokens at the first visit of a state")
    epsilon_decay: float = Field(0.2, ge=0, le=1, description="epsilon falls as a state's visits ** -this; 0 keeps it")
    epsilon_floor: float = Field(0.0, ge=0, le=1, description="and no lower than this")


@dataclass
class Table:
    """Action values of the states visited, and how often each token was tried there; both (V,) a state."""

    actions: int
    values: dict[State, Floats] = field(default_factory=dict)
    visits: dict[State, NDArray[np.int64]] = field(default_factory=dict)

    def row(self, state: State) -> Floats:
        """The state's action values, 0 if it is new."""
        if state not in self.values:
            self.values[state] = np.zeros(self.actions)
            self.visits[state] = np.zeros(self.actions, dtype=np.int64)
        return self.values[state]

    def greedy(self, state: State) -> int:
        """The token of the highest value; the first of equal ones."""
        return int(self.values[state].argmax()) if state in self.values else 0

    def save(self, path: Path) -> None:
        """Write the table as JSON, whole or not at all; numbers come back to the last bit."""
        rows = [
            {"state": list(state), "values": values.tolist(), "visits": self.visits[state].tolist()}
            for state, values in self.values.items()
        ]
        write_json(path, {"actions": self.actions, "rows": rows})

    @classmethod
    def load(cls, path: Path) -> "Table":
        """Read what `save` wrote; `UserError` if it is something else."""
        content = read_json(path)
        try:
            table = cls(int(content["actions"]))
            for row in content["rows"]:
                values = np.array(row["values"], dtype=np.float64)
                visits = np.array(row["visits"], dtype=np.int64)
                if values.shape != (table.actions,) or visits.shape != values.shape or not np.isfinite(values).all():
                    raise ValueError(
                        f"the row of state {row['state']} has not {table.actions} finite values and visits"
                    )
                state = tuple(map(int, row["state"]))
                table.values[state], table.visits[state] = values, visits
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is not a table of action values: {error!r}. Learn the table again.") from error
        return table


def learn_table(
    env: Environment,
    config: TabularConfig,
    *,
    seed: int,
    table: Table | None = None,
    on_episode: Callable[[int, float], None] = lambda episode, reward: None,
) -> Table:
    """Play `config.episodes` episodes and learn from each step; `table` is one to continue from.

    Q-learning and SARSA: Sutton & Barto 2018, eq. 6.8 and 6.7. `on_episode` gets the number of each episode and the
    sum of its rewards.
    """
    assert isinstance(env.action_space, gymnasium.spaces.Discrete)
    table = Table(int(env.action_space.n)) if table is None else table
    if table.actions != env.action_space.n:
        raise UserError(f"the table is of {table.actions} tokens, the vocabulary has {env.action_space.n}.")
    discount = float(env.get_wrapper_attr("discount"))
    generator = np.random.default_rng(seed)
    for episode in range(config.episodes):
        observation, _ = env.reset(seed=seed if episode == 0 else None)
        state = state_of(observation)
        action = explore(table, state, config, generator)
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(action)
            total, over = total + float(reward), terminated or truncated
            after = state_of(observation)
            following = None if terminated else explore(table, after, config, generator)
            if following is None:
                future = 0.0
            elif config.algorithm == "sarsa":
                future = table.row(after)[following]
            else:
                future = table.row(after).max()
            table.visits[state][action] += 1
            rate = config.learning_rate * float(table.visits[state][action]) ** -config.learning_rate_decay
            table.row(state)[action] += rate * (float(reward) + discount * future - table.row(state)[action])
            state, action = after, following or 0
        on_episode(episode, total)
    return table


def explore(table: Table, state: State, config: TabularConfig, generator: np.random.Generator) -> int:
    """A random token with probability epsilon, else one of the best (Sutton & Barto 2018, section 2.4).

    Epsilon falls with the visits to the state: greedy in the limit, with every token tried without end, as SARSA needs
    to come to the optimal values (Singh et al. 2000, theorem 1). Ties are broken at random.
    """
    values = table.row(state)
    visits = int(table.visits[state].sum()) + 1
    epsilon = max(config.epsilon_floor, config.epsilon * math.pow(visits, -config.epsilon_decay))
    if generator.random() < epsilon:
        return int(generator.integers(table.actions))
    best = np.flatnonzero(values == values.max())
    return int(best[generator.integers(len(best))]) if len(best) > 1 else int(best[0])


def greedy_text(env: Environment, table: Table, options: dict[str, Any] | None = None) -> str:
    """What the table writes when it takes the best token each time; `options` go to `reset`."""
    observation, info = env.reset(options=options)
    over = False
    while not over:
        observation, _, terminated, truncated, info = env.step(table.greedy(state_of(observation)))
        over = terminated or truncated
    return str(info["text"])
