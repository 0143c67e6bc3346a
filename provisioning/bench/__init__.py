"""How fast provisioning is, measured against its limit and against what it goes past.

`manage.py bench_provisioning` makes a registry of its own on the given server (`scratch`), has a process measure in it
(`measure`, one row after the other in turns), removes all of it and shows the result (`report`).
"""
