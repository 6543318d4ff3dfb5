"""Training by TRL's trainers (policy.engine=trl, and DPO): the same settings, log and adapter folder as `native`."""
