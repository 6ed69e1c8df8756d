"""Models as the command line names them: chosen, checked, fetched, spread over GPUs."""
