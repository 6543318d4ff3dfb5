"""The policy stage: its configuration, its alarms and metrics, best-of-n, the exported adapter; training in the rooms.

Reward models are in `reward_model`, models and sampling in `backbone`.
"""
