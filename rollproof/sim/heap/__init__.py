"""The heap world: rollouts with modelled containers, sessions and requests; thousands of them in seconds."""
