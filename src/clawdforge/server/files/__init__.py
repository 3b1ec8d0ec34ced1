"""Files that apps hand in for their agents. Knows no HTTP."""
