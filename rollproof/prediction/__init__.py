"""What a rolling deployment will do, from its settings alone: ranges by arithmetic, and a simulated run beside them."""
