"""Running code that a model wrote: `runner.py` starts and judges, `confinement.py` is the process inside."""
