"""Pure link models: opportunities, queues, delay and loss. Nothing here reads a clock."""
