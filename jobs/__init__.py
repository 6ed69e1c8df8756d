"""Configuration, the flow, the command line and reports: what composes all the rest."""
