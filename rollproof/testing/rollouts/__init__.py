"""One rollout in a test: from its arguments to its result, and to the words of a failure.

arguments   what a call may say, and what it means
apps        the server that it names
call        the fixture's value: calls that play a rehearsal
result      what came of it
story       what a failing test prints
replay      how to have the same again
"""
