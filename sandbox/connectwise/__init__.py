"""ConnectWise PSA as a client sees it."""
