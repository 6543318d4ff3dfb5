"""What the textbook benchmark is made of: a language model as the policy, intervals, drawings."""
