#!/usr/bin/env python3
"""Checks examples/gymnasium_env.py: gymnasium's checker, random episodes, and equal episodes for
equal seeds.

usage: check_gymnasium.py BINARY (by .ci/gymnasium)
"""
import sys

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env

ID = "vendomini/Warehouse-v0"
gymnasium.register(ID, "gymnasium_env:WarehouseEnv")
SETS = ["interface.prediction_mode=optional", "env.max_steps=80"]


def episode(env, seed):
    """Rewards, lengths and endings of an episode with random actions."""
    env.action_space.seed(seed)
    observation, info = env.reset(seed=seed)
    seen, rewards = [observation], []
    while True:
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        seen.append(observation)
        rewards.append(reward)
        assert env.observation_space.contains(observation)
        if terminated or truncated:
            assert truncated == (info["ending"] == "horizon"), info
            return np.array(seen), np.array(rewards), info["ending"]


def main(binary):
    env = gymnasium.make(ID, sets=SETS, binary=binary).unwrapped
    check_env(env)
    episodes = [episode(env, seed) for seed in range(5)]
    for (seen, rewards, ending), seed in zip(episodes, range(5)):
        again = episode(env, seed)
        assert np.array_equal(seen, again[0]) and np.array_equal(rewards, again[1])
        print(f"seed {seed}: {len(rewards)} steps, return {rewards.sum():.2f}, {ending}")
    assert len({seen[0].tobytes() for seen, _, _ in episodes}) == 5, "seeds are worlds of their own"
    try:
        env.step(env.action_space.sample())
        raise SystemExit("expected an error of a step after the end")
    except ValueError as error:
        assert "reset" in str(error), error
    env.close()
    assert env.process.returncode == 0

    cell = {"levels": {"pe_induction.p_shock": 0.4}}
    sets = [*SETS, "grid.pe_induction.p_shock=[0.0, 0.4]"]
    env = gymnasium.make(ID, sets=sets, binary=binary, **cell).unwrapped
    check_env(env)
    print(f"with shocks: {episode(env, 1)[2]}")
    env.close()


main(sys.argv[1])
