"""Faults: what goes wrong in a rehearsal on purpose, one file each.

moments     when: "target draining + 3 s"            victims   whom: "oldest", "random", "s02"
fault       what a fault is                          plan      all of it in one line: "hang at target draining for 30 s"
schedule    watches the history, strikes at the moment and ends it again
"""
