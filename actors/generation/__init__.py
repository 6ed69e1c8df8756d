"""What engines that generate text share: tokens in batches, memory, and answers that never end."""
