"""Virtual time: real applications, the real probe and the real rules, with nothing to wait for.

loop, threads     an event loop that jumps to its next deadline
network           connections between hosts that exist in memory only
process           one task: its memory, signals, log and end
virtual           what else is made virtual while a simulation runs: clocks, chance, signals
modules, programmes   the application of a task, with modules of its own
runtime, balancer, redis, stage   the in-process stage, from these
heap              no application at all: the rules alone, with modelled sessions, for thousands of tasks
"""
