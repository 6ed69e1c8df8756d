"""What is left to read: inputs against what the output holds."""
