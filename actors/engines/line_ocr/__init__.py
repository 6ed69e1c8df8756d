"""What engines that read lines share: pages made upright, ruled lines, lines composed to an answer."""
